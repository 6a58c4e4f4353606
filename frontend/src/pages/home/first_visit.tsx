/** What somebody sees who has sent nothing yet: what to do, and what can be done. */
import { get } from '../../api/client'
import type { Listing, Preset } from '../../api/types'
import { Notice } from '../../components/notice'
import { useLoaded } from '../../loading'
import { texts } from '../../texts'

export function FirstVisit() {
  const { value } = useLoaded((signal) => get<Listing<Preset>>('/v1/presets', { signal }), [])
  return (
    <Notice title={texts.home.emptyTitle} text={texts.home.emptyText}>
      <dl class="offered" aria-label={texts.home.presets}>
        {value?.data.map((preset) => (
          <div key={preset.name}>
            <dt>{preset.name}</dt>
            <dd>{preset.summary}</dd>
          </div>
        ))}
      </dl>
      <p class="quiet">
        {texts.home.emptyTerminal} <code>batchmill submit web photos/</code>
      </p>
    </Notice>
  )
}
