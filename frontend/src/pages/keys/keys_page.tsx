/** API keys: who may do what here; an administrator makes and revokes them. */
import { useState } from 'preact/hooks'
import { get, remove } from '../../api/client'
import type { Key, Listing, NewKey, Session } from '../../api/types'
import { Button } from '../../components/button'
import { Confirm } from '../../components/dialog'
import { ForAdmins } from '../../components/for_admins'
import { Notice, ProblemNotice } from '../../components/notice'
import { SecretDialog } from '../../components/secret'
import { Table, type Column } from '../../components/table'
import { done, problem } from '../../components/toast'
import { instant } from '../../format'
import { SessionAwaited } from '../../components/session_awaited'
import { useLoaded } from '../../loading'
import { useSession } from '../../session'
import { texts } from '../../texts'
import { useTitle } from '../../title'
import { KeyDialog } from './key_dialog'
import './keys.css'
import { usedText } from './used'

export function KeysPage() {
  useTitle(texts.keys.title)
  const { session } = useSession()
  if (!session) return <SessionAwaited />
  if (!session.lists) return <ForAdmins title={texts.keys.title} session={session} />
  return <Keys session={session} />
}

function Keys({ session }: { session: Session }) {
  const { value, error, reload } = useLoaded((signal) => get<Listing<Key>>('/v1/keys', { signal }), [])
  const [asking, setAsking] = useState(false)
  const [made, setMade] = useState<NewKey | null>(null)
  const [revoking, setRevoking] = useState<Key | null>(null)
  if (error) return <ProblemNotice heading="h1" error={error} onRetry={reload} />
  if (!value) return <p class="quiet">{texts.app.loading}</p>
  const revoke = (key: Key) =>
    remove(`/v1/keys/${key.id}`)
      .then(() => done(texts.keys.revoked(key.name)))
      .catch(problem)
      .finally(reload)
  const show = (key: NewKey) => {
    setAsking(false)
    setMade(key)
    reload()
  }
  return (
    <>
      <div class="page-head">
        <h1>{texts.keys.title}</h1>
        {session.admin && (
          <Button kind="primary" icon="plus" onClick={() => setAsking(true)}>
            {texts.keys.create}
          </Button>
        )}
      </div>
      <p class="quiet">{session.admin ? texts.keys.intro : texts.keys.introOwn}</p>
      {value.data.length === 0 ? (
        <Notice title={texts.keys.emptyTitle} text={texts.keys.emptyText} />
      ) : (
        <Table
          caption={texts.keys.title}
          rows={inOrder(value.data)}
          rowKey={(key) => key.id}
          columns={columns(session, setRevoking)}
        />
      )}
      {asking && <KeyDialog onMade={show} onClose={() => setAsking(false)} />}
      {made && (
        <SecretDialog
          title={texts.keys.madeTitle(made.name)}
          text={texts.keys.madeText}
          label={texts.keys.secret}
          secret={made.secret}
          onClose={() => setMade(null)}
        />
      )}
      {revoking && (
        <Confirm
          title={texts.keys.revokeTitle(revoking.name)}
          text={revoking.id === session.key?.id ? texts.keys.revokeOwnText : texts.keys.revokeText}
          action={texts.keys.revoke}
          onConfirm={() => void revoke(revoking)}
          onClose={() => setRevoking(null)}
        />
      )}
    </>
  )
}

/** Living keys first; within each part as the server has them, newest first. */
function inOrder(keys: readonly Key[]): Key[] {
  return [...keys].sort((a, b) => Number(a.revoked_at !== null) - Number(b.revoked_at !== null))
}

function columns(session: Session, onRevoke: (key: Key) => void): Column<Key>[] {
  const names = texts.keys.columns
  const all: Column<Key>[] = [
    { title: names.name, cell: (key) => <Name key={key.id} row={key} own={key.id === session.key?.id} /> },
    { title: names.owner, cell: (key) => <bdi>{key.owner}</bdi> },
    { title: names.tier, cell: (key) => key.tier },
    { title: names.scopes, cell: (key) => key.scopes.map((scope) => texts.keys.scopes[scope].name).join(', ') },
    { title: names.made, cell: (key) => <time dateTime={key.created_at}>{instant(key.created_at)}</time> },
    { title: names.used, cell: (key) => <Used at={key.used_at} /> },
    { title: names.state, cell: (key) => <State row={key} /> },
  ]
  if (!session.admin) return all
  const action = (key: Key) =>
    key.revoked_at === null && (
      <Button kind="quiet" icon="ban" onClick={() => onRevoke(key)}>
        {texts.keys.revoke}
        <span class="silent">{key.name}</span>
      </Button>
    )
  return [...all, { title: names.action, cell: action }]
}

function Name({ row, own }: { row: Key; own: boolean }) {
  return (
    <>
      <bdi class="wrapping">{row.name}</bdi>
      {own && <span class="tag">{texts.keys.yours}</span>}
    </>
  )
}

function Used({ at }: { at: string | null }) {
  return at === null ? <span class="quiet">{texts.keys.neverUsed}</span> : <time dateTime={at}>{usedText(at)}</time>
}

function State({ row }: { row: Key }) {
  if (row.revoked_at === null) return <>{texts.keys.valid}</>
  return <span class="quiet">{texts.keys.revokedAt(instant(row.revoked_at))}</span>
}
