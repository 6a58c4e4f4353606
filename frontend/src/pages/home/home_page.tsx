/** Home: send files, see what runs, what went wrong and how the server is. */
import { useEffect, useState } from 'preact/hooks'
import { get } from '../../api/client'
import type { Batch } from '../../api/types'
import { problem } from '../../components/toast'
import { fromDrop, fromList, merged, without, type Picked } from '../../sending/gather'
import { takeUp, useSendings } from '../../sending/sendings'
import { useLoaded } from '../../loading'
import { texts } from '../../texts'
import { useTitle } from '../../title'
import { Batches } from './batches'
import { DropArea } from './drop_area'
import { FirstVisit } from './first_visit'
import './home.css'
import { OrderForm } from './order_form'
import { RecentErrors } from './recent_errors'
import { SendingCard } from './sending_card'
import { Tiles } from './tiles'
import { useBatches } from './use_batches'

/** `query.get('like')` names a batch whose pipeline the next files should get. */
export function HomePage({ query }: { query: URLSearchParams }) {
  useTitle('')
  const [picked, setPicked] = useState<Picked[]>([])
  const sendings = useSendings()
  const batches = useBatches(sendings.map((sending) => sending.batchId))
  const like = useLike(query.get('like'))
  useEffect(() => void takeUp(), [])
  const add = (more: Picked[]) => setPicked((before) => merged(before, more))
  const reading = usePaste(add)
  const busy = picked.length > 0 || sendings.length > 0
  const first = batches.shown?.length === 0
  return (
    <div class="home">
      <h1 class="silent">{texts.home.title}</h1>
      <div class="home-main">
        <DropArea small={!first || busy} reading={reading} onPick={add} />
        {picked.length > 0 && (
          <OrderForm picked={picked} like={like} onClear={() => setPicked([])} onSent={(sent) => setPicked((before) => without(before, sent))} />
        )}
        {sendings.map((sending) => (
          <SendingCard key={sending.batchId} sending={sending} />
        ))}
        {first && !busy && !batches.error ? <FirstVisit /> : <Batches batches={batches} />}
      </div>
      <aside class="home-side">
        <Tiles news={endedOf(batches.shown)} />
        <RecentErrors batches={batches.shown ?? []} />
      </aside>
    </div>
  )
}

/** Which batches have ended, as one word. */
const endedOf = (batches: readonly Batch[] | null): string =>
  (batches ?? []).filter((batch) => batch.ended_at !== null).map((batch) => batch.id).join()

function useLike(id: string | null): Batch | null {
  const { value } = useLoaded(
    async (signal) => (id ? get<Batch>(`/v1/batches/${encodeURIComponent(id)}`, { signal }) : null), [id])
  return value
}

/** Files pasted or dropped anywhere on the page count; returns whether some are still being read. */
function usePaste(add: (picked: Picked[]) => void): boolean {
  const [drops, setDrops] = useState(0)
  const take = async (dropped: DataTransfer) => {
    setDrops((number) => number + 1)
    const { picked, unread } = await fromDrop(dropped)
    setDrops((number) => number - 1)
    add(picked)
    if (unread > 0) problem(texts.home.unread(unread))
  }
  useEffect(() => {
    const paste = (event: ClipboardEvent) => add(fromList(event.clipboardData?.files ?? []))
    const over = (event: DragEvent) => event.preventDefault()
    const drop = (event: DragEvent) => {
      event.preventDefault()
      if (event.dataTransfer) void take(event.dataTransfer)
    }
    window.addEventListener('paste', paste)
    window.addEventListener('dragover', over)
    window.addEventListener('drop', drop)
    return () => {
      window.removeEventListener('paste', paste)
      window.removeEventListener('dragover', over)
      window.removeEventListener('drop', drop)
    }
  }, [])
  return drops > 0
}
