/** The batches that have not ended: who is next, how far each is, pausing and resuming them. */
import { useState } from 'preact/hooks'
import { post } from '../../api/client'
import type { Batch, Page } from '../../api/types'
import { Button } from '../../components/button'
import { Notice } from '../../components/notice'
import { SegmentedBar } from '../../components/segmented_bar'
import { Table, type Column } from '../../components/table'
import { done, problem } from '../../components/toast'
import { count, percent, range, rate } from '../../format'
import { texts } from '../../texts'
import { titleOf } from '../batch/batch_page'

const said = texts.queue

export function Unended({ batches, onChange }: { batches: Page<Batch>; onChange: () => void }) {
  if (batches.data.length === 0) return <Notice title={said.emptyTitle} text={said.emptyText} />
  return (
    <>
      <Table caption={said.batches} rows={inOrder(batches.data)} rowKey={(batch) => batch.id} columns={columns(onChange)} />
      {batches.has_more && <p class="quiet">{said.newest(batches.data.length)}</p>}
    </>
  )
}

/** What runs first, then those that wait in their order, then those that are paused. */
function inOrder(batches: readonly Batch[]): Batch[] {
  const place = (batch: Batch) =>
    batch.paused ? Infinity : batch.status === 'processing' ? 0 : (batch.progress.position ?? Number.MAX_SAFE_INTEGER)
  return [...batches].sort((a, b) => place(a) - place(b) || (a.id < b.id ? -1 : 1))
}

function columns(onChange: () => void): Column<Batch>[] {
  return [
    {
      title: said.columns.batch,
      cell: (batch) => (
        <a class="wrapping" href={`/batches/${batch.id}`}>
          <bdi>{titleOf(batch)}</bdi>
        </a>
      ),
    },
    { title: said.columns.owner, cell: (batch) => <bdi>{batch.owner}</bdi> },
    { title: said.columns.state, cell: (batch) => <State batch={batch} /> },
    { title: said.columns.progress, cell: (batch) => <Bar batch={batch} /> },
    { title: said.columns.left, cell: (batch) => count(left(batch)), number: true },
    { title: said.columns.time, cell: (batch) => timeLeft(batch) },
    { title: said.columns.action, cell: (batch) => <Turn batch={batch} onChange={onChange} /> },
  ]
}

function State({ batch }: { batch: Batch }) {
  const { position, items_per_second: pace } = batch.progress
  if (batch.paused) return <bdi>{texts.batch.paused(batch.pause_reason)}</bdi>
  if (batch.outage_since) return <bdi>{texts.batch.waits(batch.pause_reason)}</bdi>
  const more = position !== null ? texts.batch.place(position) : pace !== null ? rate(pace) : ''
  return (
    <>
      {texts.batchStatus[batch.status]}
      {more && <span class="quiet">, {more}</span>}
    </>
  )
}

function Bar({ batch }: { batch: Batch }) {
  const done = batch.progress.percent
  return (
    <div class="queue-bar">
      <SegmentedBar label={titleOf(batch)} counts={batch.counts} percent={done} />
      <span>{done === null ? '' : percent(done)}</span>
    </div>
  )
}

const left = ({ counts }: Batch): number => counts.pending + counts.queued + counts.retrying + counts.processing

function timeLeft({ progress, paused }: Batch): string {
  const { eta_low_seconds: low, eta_high_seconds: high } = progress
  return low === null || high === null || paused ? '–' : range(low, high)
}

function Turn({ batch, onChange }: { batch: Batch; onChange: () => void }) {
  const [busy, setBusy] = useState(false)
  const verb = batch.paused ? 'resume' : 'pause'
  const act = () => {
    setBusy(true)
    post(`/v1/batches/${batch.id}/${verb}`)
      .then(() => done(verb === 'pause' ? texts.batch.pausedDone : texts.batch.resumedDone))
      .catch(problem)
      .finally(() => {
        setBusy(false)
        onChange()
      })
  }
  if (!['queued', 'processing'].includes(batch.status)) return null
  return (
    <Button kind="quiet" icon={batch.paused ? 'play' : 'pause'} busy={busy} onClick={act}>
      {texts.batch[verb]}
      <span class="silent">{titleOf(batch)}</span>
    </Button>
  )
}
