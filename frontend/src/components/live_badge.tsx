/** Says whether what is shown is live. */
import type { LiveState } from '../api/live'
import { texts } from '../texts'

export function LiveBadge({ state }: { state: LiveState }) {
  return (
    <span class={`live-badge ${state}`} title={texts.app.liveTitle[state]} role="status">
      <span class="dot" />
      {texts.app.live[state]}
    </span>
  )
}
