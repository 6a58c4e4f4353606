/** The processes that are alive: how much each does at once, whether anything stops it, pausing one. */
import type { ComponentChildren } from 'preact'
import { useState } from 'preact/hooks'
import { post } from '../../api/client'
import type { Worker } from '../../api/types'
import { Button } from '../../components/button'
import { Table, type Column } from '../../components/table'
import { done, problem } from '../../components/toast'
import { ago, instant } from '../../format'
import { texts } from '../../texts'
import { PauseDialog } from './pause_queue'

const said = texts.queue

const columns = (state: (worker: Worker) => ComponentChildren): Column<Worker>[] => [
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
  { title: said.workerColumns.state, cell: state },
  { title: said.workerColumns.slots, cell: (worker) => said.busy(worker.running, worker.slots), number: true },
  {
    title: said.workerColumns.seen,
    cell: (worker) => <span title={`${said.since} ${instant(worker.started_at)}`}>{ago(worker.seen_at)}</span>,
  },
]

interface WorkersProps {
  workers: readonly Worker[]
  admin: boolean
  onChange: () => void
}

export function Workers({ workers, admin, onChange }: WorkersProps) {
  const working = workers.some((worker) => worker.slots > 0)
  const state = (worker: Worker) => (
    <>
      <State worker={worker} />
      {admin && (
        <div>
          <Turn worker={worker} onChange={onChange} />
        </div>
      )}
    </>
  )
  return (
    <>
      {!working && <p class="hint">{said.nobodyWorks}</p>}
      {workers.length > 0 && (
        <Table caption={said.workers} columns={columns(state)} rows={workers} rowKey={(worker) => worker.id} />
      )}
    </>
  )
}

function State({ worker }: { worker: Worker }) {
  if (worker.paused) return <bdi class="wrapping">{said.workerPaused(worker.pause_reason ?? '')}</bdi>
  const short = worker.stats.short_of
  if (short) return <span class="wrong">{said.short(short)}</span>
  if (worker.draining) return <>{said.draining}</>
  return <>{worker.slots > 0 ? said.works : said.serves}</>
}

function Turn({ worker, onChange }: { worker: Worker; onChange: () => void }) {
  const [asking, setAsking] = useState(false)
  const [busy, setBusy] = useState(false)
  const act = (action: 'pause' | 'resume', body: object, text: string) => {
    setAsking(false)
    setBusy(true)
    post(`/v1/workers/${worker.id}/${action}`, { body })
      .then(() => done(text))
      .catch(problem)
      .finally(() => {
        setBusy(false)
        onChange()
      })
  }
  const onlyServes = worker.slots === 0 && !worker.stats.short_of
  if (onlyServes || worker.draining) return null
  const turn = () => (worker.paused ? act('resume', {}, said.workerResumedDone) : setAsking(true))
  return (
    <>
      <Button kind="quiet" icon={worker.paused ? 'play' : 'pause'} busy={busy} onClick={turn}>
        {worker.paused ? said.resumeWorker : said.pauseWorker}
        <span class="silent">{worker.id}</span>
      </Button>
      {asking && (
        <PauseDialog title={said.pauseWorkerTitle} text={said.pauseWorkerText} action={said.pauseWorker}
          onPause={(reason) => act('pause', reason ? { reason } : {}, said.workerPausedDone)}
          onClose={() => setAsking(false)} />
      )}
    </>
  )
}
