/** Says on every page but Home how far a sending is, and that it does not go on by itself. */
import { texts } from '../texts'
import { isOver } from './sending'
import { useSendings } from './sendings'

export function SendingNote() {
  const sendings = useSendings()
  if (sendings.length === 0) return null
  const entries = sendings.flatMap((sending) => sending.entries)
  const stopped = sendings.every((sending) => !sending.goesOn)
  return (
    <aside class="sending-note" aria-label={texts.sending.note}>
      <a href="/">
        {stopped ? texts.sending.waits : texts.sending.note}: {texts.sending.count(entries.filter(isOver).length, entries.length)}
      </a>
    </aside>
  )
}
