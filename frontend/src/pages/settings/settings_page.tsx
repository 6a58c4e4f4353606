/** How this server is set, and the addresses that it tells of finished batches. */
import { useState } from 'preact/hooks'
import { get } from '../../api/client'
import type { Listing, Session, Setting } from '../../api/types'
import { ForAdmins } from '../../components/for_admins'
import { ProblemNotice } from '../../components/notice'
import { Tabs } from '../../components/tabs'
import { SessionAwaited } from '../../components/session_awaited'
import { useLoaded } from '../../loading'
import { useSession } from '../../session'
import { texts } from '../../texts'
import { useTitle } from '../../title'
import { SettingList } from './setting_list'
import './settings.css'
import { Webhooks } from './webhooks'

export function SettingsPage() {
  useTitle(texts.settings.title)
  const { session } = useSession()
  if (!session) return <SessionAwaited />
  if (!session.lists) return <ForAdmins title={texts.settings.title} session={session} />
  return <Parts session={session} />
}

function Parts({ session }: { session: Session }) {
  const [chosen, setChosen] = useState<'settings' | 'webhooks'>(session.admin ? 'settings' : 'webhooks')
  const tabs = (['settings', 'webhooks'] as const).map((id) => ({ id, label: texts.settings.tabs[id] }))
  return (
    <>
      <h1>{texts.settings.title}</h1>
      <Tabs label={texts.settings.title} tabs={tabs} chosen={chosen} onChoose={setChosen}>
        {chosen === 'webhooks' ? <Webhooks /> : <ServerSettings session={session} />}
      </Tabs>
    </>
  )
}

function ServerSettings({ session }: { session: Session }) {
  const { value, error, reload } = useLoaded(
    async (signal) => (session.admin ? get<Listing<Setting>>('/v1/settings', { signal }) : null), [session.admin])
  if (!session.admin) return <ForAdmins heading="h2" title={texts.settings.adminsOnly} session={session} />
  if (error) return <ProblemNotice error={error} onRetry={reload} />
  return value ? <SettingList settings={value.data} /> : <p class="quiet">{texts.app.loading}</p>
}
