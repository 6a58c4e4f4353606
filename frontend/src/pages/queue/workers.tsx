/** The processes that are alive: how much each does at once, and whether anything stops it. */
import type { Worker } from '../../api/types'
import { Table, type Column } from '../../components/table'
import { ago, instant } from '../../format'
import { texts } from '../../texts'

const said = texts.queue

const COLUMNS: Column<Worker>[] = [
  {
    title: said.workerColumns.name,
    cell: (worker) => (
      <>
        {worker.host && (
          <>
            <bdi>{worker.host}</bdi>
            <br />
          </>
        )}
        <code class="quiet wrapping">{worker.id}</code>
      </>
    ),
  },
  { title: said.workerColumns.state, cell: (worker) => <State worker={worker} /> },
  { title: said.workerColumns.slots, cell: (worker) => said.busy(worker.running, worker.slots), number: true },
  {
    title: said.workerColumns.seen,
    cell: (worker) => <span title={`${said.since} ${instant(worker.started_at)}`}>{ago(worker.seen_at)}</span>,
  },
]

export function Workers({ workers }: { workers: readonly Worker[] }) {
  const working = workers.some((worker) => worker.slots > 0)
  return (
    <>
      {!working && <p class="hint">{said.nobodyWorks}</p>}
      {workers.length > 0 && (
        <Table caption={said.workers} columns={COLUMNS} rows={workers} rowKey={(worker) => worker.id} />
      )}
    </>
  )
}

function State({ worker }: { worker: Worker }) {
  const short = worker.stats.short_of
  if (short) return <span class="wrong">{said.short(short)}</span>
  if (worker.draining) return <>{said.draining}</>
  return <>{worker.slots > 0 ? said.works : said.serves}</>
}
