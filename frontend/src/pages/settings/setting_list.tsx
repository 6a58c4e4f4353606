/** Every setting with its value and where that came from; to be searched, not to be changed. */
import { useState } from 'preact/hooks'
import type { Setting } from '../../api/types'
import { Marked } from '../../components/marked'
import { Notice } from '../../components/notice'
import { Table, type Column } from '../../components/table'
import { texts } from '../../texts'

const names = texts.settings.columns

const COLUMNS: Column<Setting>[] = [
  {
    title: names.name,
    cell: (setting) => (
      <>
        <code class="wrapping">{setting.variable}</code>
        <br />
        <Marked text={setting.meaning} />
      </>
    ),
  },
  { title: names.value, cell: (setting) => <Value setting={setting} /> },
  { title: names.origin, cell: (setting) => <Origin setting={setting} /> },
  {
    title: names.takes,
    cell: (setting) => (
      <>
        {setting.takes}
        {setting.default !== null && (
          <>
            <br />
            <span class="quiet wrapping">{texts.settings.defaultIs(setting.default)}</span>
          </>
        )}
      </>
    ),
  },
]

export function SettingList({ settings }: { settings: readonly Setting[] }) {
  const [search, setSearch] = useState('')
  const [onlyGiven, setOnlyGiven] = useState(false)
  const wanted = search.trim().toLowerCase().replaceAll(/[\s-]+/g, '_')
  const words = search.trim().toLowerCase()
  const fits = (setting: Setting) =>
    (!onlyGiven || setting.origin !== 'default') &&
    (setting.variable.toLowerCase().includes(wanted) || setting.meaning.toLowerCase().includes(words))
  const shown = settings.filter(fits)
  const narrowed = onlyGiven || wanted !== ''
  return (
    <div class="stack">
      <p>
        <Marked text={texts.settings.howToChange} />
      </p>
      <div class="line-up">
        <label class="setting-search">
          <span class="silent">{texts.settings.search}</span>
          <input type="search" placeholder={texts.settings.search} value={search}
            onInput={(event) => setSearch(event.currentTarget.value)} />
        </label>
        <label class="line-up">
          <input type="checkbox" checked={onlyGiven} onChange={(event) => setOnlyGiven(event.currentTarget.checked)} />
          {texts.settings.onlyGiven}
        </label>
        <span class="quiet" role="status">
          {narrowed && texts.settings.shown(shown.length)}
        </span>
      </div>
      {shown.length === 0 && (
        <Notice title={onlyGiven && wanted === '' ? texts.settings.allDefaults : texts.settings.noneTitle} />
      )}
      {groups(shown).map(([group, rows]) => (
        <details key={group} class="setting-group" open={narrowed || !group.startsWith('tiers.')}>
          <summary>
            <h2>{texts.settings.group(group)}</h2>
          </summary>
          <Table caption={texts.settings.group(group)} columns={COLUMNS} rows={rows} rowKey={(setting) => setting.name} />
        </details>
      ))}
    </div>
  )
}

/** By what stands before the last dot, in the order of the server's list. */
function groups(settings: readonly Setting[]): [string, Setting[]][] {
  const found = new Map<string, Setting[]>()
  for (const setting of settings) {
    const group = setting.name.split('.').slice(0, -1).join('.')
    found.set(group, [...(found.get(group) ?? []), setting])
  }
  return [...found]
}

function Value({ setting }: { setting: Setting }) {
  if (setting.secret) return setting.given ? <b>{texts.settings.secretGiven}</b> : <Unset />
  return setting.value === null ? <Unset /> : <code class="wrapping">{setting.value}</code>
}

function Unset() {
  return <span class="quiet">{texts.settings.unset}</span>
}

function Origin({ setting }: { setting: Setting }) {
  if (setting.origin === 'default') return <span class="quiet">{texts.settings.origins.default}</span>
  return (
    <>
      {texts.settings.origins[setting.origin]}
      <br />
      <span class="wrapping">
        <Marked text={setting.given_by ?? ''} />
      </span>
    </>
  )
}
