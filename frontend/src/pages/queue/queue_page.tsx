/** The whole server at work: what waits, how fast it goes, which batches are next, who works. */
import { get } from '../../api/client'
import type { Batch, Listing, Page, Queue, Session, Worker } from '../../api/types'
import { Figures, type Figure } from '../../components/figures'
import { LiveBadge } from '../../components/live_badge'
import { ProblemNotice } from '../../components/notice'
import { bytes, count, duration } from '../../format'
import { SessionAwaited } from '../../components/session_awaited'
import { useLoaded, useTicking } from '../../loading'
import { useSession } from '../../session'
import { texts } from '../../texts'
import { useTitle } from '../../title'
import { Lanes } from './lanes'
import { PauseQueue } from './pause_queue'
import './queue.css'
import { Unended } from './unended'
import { Workers } from './workers'

const EVERY_MS = 2_000
const SHOWN = 50

interface Seen {
  queue: Queue
  /** Null for callers who are shown no lists. */
  workers: Worker[] | null
  batches: Page<Batch>
}

async function look(signal: AbortSignal): Promise<Seen> {
  const { lists } = await get<Session>('/v1/session', { signal })
  const [queue, workers, batches] = await Promise.all([
    get<Queue>('/v1/queue', { signal }),
    lists ? get<Listing<Worker>>('/v1/workers', { signal }) : null,
    get<Page<Batch>>('/v1/batches', { query: { active: 'true', limit: SHOWN }, signal }),
  ])
  return { queue, workers: workers && workers.data, batches }
}

export function QueuePage() {
  useTitle(texts.queue.title)
  const { session } = useSession()
  const { value, error, reload, refresh } = useLoaded(look, [])
  useTicking(refresh, EVERY_MS)
  if (error && !value) return <ProblemNotice heading="h1" error={error} onRetry={reload} />
  if (!value || !session) return <SessionAwaited />
  return <Loaded seen={value} session={session} away={error !== null} onChange={reload} />
}

interface LoadedProps {
  seen: Seen
  session: Session
  /** The server does not answer; what is shown is the last that it said. */
  away: boolean
  onChange: () => void
}

function Loaded({ seen, session, away, onChange }: LoadedProps) {
  const { queue, workers, batches } = seen
  return (
    <>
      <div class="page-head">
        <div class="line-up">
          <h1>{texts.queue.title}</h1>
          {away ? <LiveBadge state="offline" /> : <span class="quiet">{texts.queue.every}</span>}
        </div>
        {session.admin && <PauseQueue queue={queue} onChange={onChange} />}
      </div>
      {session.key?.scopes.includes('admin') || <p class="quiet">{texts.queue.own}</p>}
      <Figures label={texts.queue.figures} figures={figures(queue)} />
      <section class="stack">
        <h2>{texts.queue.batches}</h2>
        <Unended batches={batches} onChange={onChange} />
      </section>
      <div class="queue-parts">
        <section class="stack">
          <h2>{texts.queue.lanes}</h2>
          <Lanes lanes={queue.lanes} />
        </section>
        {workers && (
          <section class="stack">
            <h2>{texts.queue.workers}</h2>
            <Workers workers={workers} admin={session.admin} onChange={onChange} />
          </section>
        )}
      </div>
    </>
  )
}

function figures(queue: Queue): Figure[] {
  const said = texts.queue.figure
  const { counts, ended } = queue
  const waiting = counts.pending + counts.queued + counts.retrying
  const oldest = queue.lanes.map((lane) => lane.oldest_at).filter((at) => at !== null).sort()[0]
  return [
    { label: said.waiting, value: count(waiting), more: counts.retrying ? said.retrying(count(counts.retrying)) : undefined },
    { label: said.oldest, value: oldest ? duration((Date.now() - Date.parse(oldest)) / 1_000) : '–', more: oldest && said.sent },
    { label: said.running, value: count(counts.processing), more: said.slots(count(queue.slots)) },
    { label: said.minute, value: count(ended.minute), more: said.hour(count(ended.hour)) },
    { label: said.failed, value: count(queue.last_day.failed + queue.last_day.quarantined), more: said.ofDay(count(queue.last_day.total)) },
    ...(queue.free_bytes === null ? [] : [{ label: said.free, value: bytes(queue.free_bytes) }]),
  ]
}
