/** What runs, with its bars, and what has ended. */
import { useState } from 'preact/hooks'
import type { Batch } from '../../api/types'
import { Button } from '../../components/button'
import { LiveBadge } from '../../components/live_badge'
import { ProblemNotice } from '../../components/notice'
import { SegmentedBar } from '../../components/segmented_bar'
import { problem } from '../../components/toast'
import { ago, bytes, percent, range, rate } from '../../format'
import { texts } from '../../texts'
import type { BatchList } from './use_batches'

export function Batches({ batches }: { batches: BatchList }) {
  const { shown, error, state, reload } = batches
  if (!shown) return error ? <ProblemNotice error={error} onRetry={reload} /> : <p class="quiet">{texts.app.loading}</p>
  const running = shown.filter((batch) => batch.ended_at === null)
  const ended = shown.filter((batch) => batch.ended_at !== null)
  return (
    <>
      {error !== null && <p class="trouble" role="alert">{texts.home.stale(error instanceof Error ? error.message : String(error))}</p>}
      {running.length > 0 && (
        <section aria-labelledby="running-title">
          <div class="list-head">
            <h2 id="running-title">{texts.home.running}</h2>
            <LiveBadge state={state} />
          </div>
          <List batches={running} />
        </section>
      )}
      {ended.length > 0 && (
        <section aria-labelledby="ended-title">
          <div class="list-head">
            <h2 id="ended-title">{texts.home.ended}</h2>
          </div>
          <List batches={ended} />
        </section>
      )}
      {batches.hasMore && <Older batches={batches} />}
    </>
  )
}

function Older({ batches }: { batches: BatchList }) {
  const [busy, setBusy] = useState(false)
  const read = () => {
    setBusy(true)
    void batches.more().catch(problem).finally(() => setBusy(false))
  }
  return (
    <Button busy={busy} onClick={read}>
      {texts.home.more}
    </Button>
  )
}

function List({ batches }: { batches: readonly Batch[] }) {
  return (
    <ul class="batches">
      {batches.map((batch) => (
        <li key={batch.id}>
          <a href={`/batches/${batch.id}`}>
            <strong>
              <bdi>{batch.name ?? texts.items(batch.counts.total)}</bdi>
            </strong>
            <span class="quiet">{batch.pipeline.name ?? batch.pipeline.steps.map((step) => step.use).join(' → ')}</span>
            <State batch={batch} />
          </a>
          <SegmentedBar label={batch.name ?? batch.id} counts={batch.counts} percent={batch.progress.percent} />
          <Figures batch={batch} />
        </li>
      ))}
    </ul>
  )
}

function State({ batch }: { batch: Batch }) {
  if (batch.paused) return <span class="state paused">{texts.batch.paused(batch.pause_reason)}</span>
  if (batch.outage_since) return <span class="state paused">{texts.batch.waits(batch.pause_reason)}</span>
  const { pending, queued, processing, retrying } = batch.counts
  const idle = batch.open && batch.ended_at === null && pending + queued + processing + retrying === 0
  const status = idle ? 'uploading' : batch.status
  return <span class={`state ${status}`}>{texts.batchStatus[status]}</span>
}

function Figures({ batch }: { batch: Batch }) {
  const { progress, counts } = batch
  const failed = counts.failed + counts.quarantined
  return (
    <p class="quiet figures">
      {batch.ended_at === null && progress.percent !== null && <b>{percent(progress.percent)}</b>}
      <span>{texts.items(counts.total)}</span>
      {failed > 0 && <span class="bad">{texts.home.failed(failed)}</span>}
      {batch.ended_at === null && progress.items_per_second !== null && <span>{rate(progress.items_per_second)}</span>}
      {progress.eta_low_seconds !== null && progress.eta_high_seconds !== null && (
        <span>{texts.sending.left(range(progress.eta_low_seconds, progress.eta_high_seconds))}</span>
      )}
      {progress.bytes_saved > 0 && <span>{texts.batch.saved(bytes(progress.bytes_saved))}</span>}
      <time dateTime={batch.created_at}>{ago(batch.created_at)}</time>
    </p>
  )
}
