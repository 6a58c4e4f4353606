/** One batch: how far it is, what failed and why, every file, and what was made of it. */
import { useCallback, useEffect, useState } from 'preact/hooks'
import { get, ProblemError } from '../../api/client'
import type { Batch } from '../../api/types'
import { Notice, ProblemNotice } from '../../components/notice'
import { count, percent } from '../../format'
import { useLive } from '../../live_hook'
import { useLoaded, useTicking } from '../../loading'
import { texts } from '../../texts'
import { useTitle } from '../../title'
import { Failures } from './failures'
import { Head } from './head'
import { ItemList } from './item_list'
import { ItemPanel } from './item_panel'
import { withNews } from './news'
import { Overview } from './overview'
import { EVERYTHING, type Wanted } from './rows'
import { useRows } from './use_rows'
import './batch.css'

const PLACE_MS = 5_000
const path = (id: string): string => `/v1/batches/${id}`

export function BatchPage({ id }: { id: string }) {
  const { value, error, reload } = useLoaded((signal) => get<Batch>(path(id), { signal }), [id])
  if (error instanceof ProblemError && error.status === 404) return <Missing />
  if (error) return <ProblemNotice heading="h1" error={error} onRetry={reload} />
  return value ? <Loaded first={value} /> : <Awaited />
}

function Awaited() {
  useTitle(texts.app.loading)
  return <p class="quiet">{texts.app.loading}</p>
}

function Missing() {
  useTitle(texts.batch.missingTitle)
  return (
    <Notice heading="h1" title={texts.batch.missingTitle} text={texts.batch.missingText}>
      <a href="/">{texts.batch.all}</a>
    </Notice>
  )
}

/** The name that people gave it, or else what it does and to how many files. */
export function titleOf(batch: Batch): string {
  const pipeline = batch.pipeline.name ?? batch.pipeline.steps.map((step) => step.use).join(' → ')
  if (batch.name) return batch.name
  return pipeline ? texts.batch.title(pipeline, batch.counts.total) : texts.batch.untitled // its files still arrive
}

function Loaded({ first }: { first: Batch }) {
  const [batch, setBatch] = useState(first)
  const [deleted, setDeleted] = useState(false)
  const [wanted, setWanted] = useState<Wanted>(EVERYTHING)
  const [chosen, setChosen] = useState<number | null>(null)
  const { rows, version, problem } = useRows(batch, wanted)
  const put = useCallback((news: Batch) => setBatch((old) => withNews(old, news)), [])
  const state = useLive([first.id], batch.ended_at !== null, {
    onBatch: put,
    onItem: (item) => rows.put(item),
    onItemsChanged: () => undefined, // the batch's new revision has the rows read again
    onDeleted: () => setDeleted(true),
  })
  useTabTitle(batch)
  usePlace(batch, put)
  // Grows with every time that somebody enters a file by keyboard.
  const [entered, setEntered] = useState(0)
  const close = () => {
    setChosen(null)
    setEntered(0)
  }
  const narrow = (next: Wanted) => {
    close()
    setWanted(next)
  }
  const item = chosen === null ? undefined : rows.at(chosen)
  useEffect(() => {
    if (chosen !== null && rows.length <= chosen) close()
  }, [version])
  if (deleted) return <Missing />
  const failed = batch.counts.failed + batch.counts.quarantined
  return (
    <div class="batch">
      <Head batch={batch} state={state} onChange={put} />
      <Overview batch={batch} wanted={wanted} onWant={narrow} />
      <div class="batch-body">
        <ItemList
          rows={rows}
          version={version}
          problem={problem}
          counts={batch.counts}
          wanted={wanted}
          onWant={narrow}
          chosen={chosen}
          onChoose={setChosen}
          onEnter={(row) => {
            setChosen(row)
            setEntered((times) => times + 1)
          }}
        />
        {item && chosen !== null ? (
          <ItemPanel
            key="item"
            row={item}
            entered={entered}
            onClose={close}
            onStep={(step) => setChosen(Math.min(Math.max(0, chosen + step), rows.length - 1))}
          />
        ) : (
          failed > 0 && <Failures batch={batch} wanted={wanted} onWant={narrow} onChange={put} />
        )}
      </div>
      <p class="silent" role="status">
        {announcement(batch)}
      </p>
    </div>
  )
}

/** The place in the queue changes with other batches, of which no news come here. */
function usePlace(batch: Batch, put: (batch: Batch) => void): void {
  const waits = batch.status === 'queued'
  const look = useCallback(() => {
    if (waits) void get<Batch>(path(batch.id)).then(put).catch(() => undefined) // the badge tells of outages
  }, [batch.id, waits])
  useTicking(look, PLACE_MS)
}

function useTabTitle(batch: Batch): void {
  const title = titleOf(batch)
  const done = batch.progress.percent
  useTitle(done === null || done >= 100 ? title : texts.batch.percentTitle(percent(done), title))
}

/** What a reader hears when the batch's status changes; not every percent. */
function announcement(batch: Batch): string {
  const failed = batch.counts.failed + batch.counts.quarantined
  const running = batch.outage_since ? texts.batch.waits(batch.pause_reason) : texts.batchStatus[batch.status]
  const status = batch.paused ? texts.batch.paused(batch.pause_reason) : running
  return batch.ended_at && failed ? `${status}. ${texts.status.failed}: ${count(failed)}` : status
}
