/** Says on every page but Home how far a sending is, and that it does not go on by itself. */
import { texts } from '../texts'
import type { Sending } from './sending'
import { useSendings } from './sendings'

export function SendingNote() {
  const sendings = useSendings()
  if (sendings.length === 0) return null
  const sum = (of: (sending: Sending) => number) => sendings.reduce((all, sending) => all + of(sending), 0)
  const stopped = sendings.every((sending) => !sending.goesOn)
  return (
    <aside class="sending-note" aria-label={texts.sending.note}>
      <a href="/">
        {stopped ? texts.sending.waits : texts.sending.note}: {texts.sending.count(sum((each) => each.sentFiles), sum((each) => each.totalFiles))}
      </a>
    </aside>
  )
}
