/** The batch's name and state, and everything that can be done to it as a whole. */
import { useState } from 'preact/hooks'
import { post } from '../../api/client'
import type { LiveState } from '../../api/live'
import type { Batch } from '../../api/types'
import { Button } from '../../components/button'
import { Confirm } from '../../components/dialog'
import { Icon } from '../../components/icons'
import { LiveBadge } from '../../components/live_badge'
import { Menu } from '../../components/menu'
import { done, problem } from '../../components/toast'
import { instant } from '../../format'
import { useSendings } from '../../sending/sendings'
import { texts } from '../../texts'
import { titleOf } from './batch_page'

interface HeadProps {
  batch: Batch
  state: LiveState
  onChange: (batch: Batch) => void
}

export function Head(props: HeadProps) {
  const { batch, state } = props
  return (
    <div class="batch-head">
      <div class="batch-title">
        <h1 title={batch.id}>
          <bdi>{titleOf(batch)}</bdi>
        </h1>
        <StatusChip batch={batch} />
        {(batch.ended_at === null || state === 'offline') && <LiveBadge state={state} />}
        <Facts batch={batch} />
      </div>
      <Actions {...props} />
    </div>
  )
}

function StatusChip({ batch }: { batch: Batch }) {
  if (batch.paused) return <span class="state paused">{texts.batch.paused(batch.pause_reason)}</span>
  if (batch.outage_since) return <span class="state paused">{texts.batch.waits(batch.pause_reason)}</span>
  if (batch.pause_reason && !batch.ended_at && batch.status !== 'cancelling') return <span class="state paused">{batch.pause_reason}</span>
  return <span class={`state ${batch.status}`}>{texts.batchStatus[batch.status]}</span>
}

function Facts({ batch }: { batch: Batch }) {
  return (
    <dl class="facts">
      <div>
        <dt>{texts.batch.pipeline}</dt>
        <dd>
          {batch.pipeline.name && <b>{batch.pipeline.name}</b>}{' '}
          {batch.pipeline.steps.map((step) => step.use).join(' → ')}
        </dd>
      </div>
      <div>
        <dt>{texts.batch.owner}</dt>
        <dd>{batch.owner}</dd>
      </div>
      <div>
        <dt>{texts.batch.sent}</dt>
        <dd>
          <time dateTime={batch.created_at}>{instant(batch.created_at)}</time>
        </dd>
      </div>
    </dl>
  )
}

function Actions({ batch, onChange }: HeadProps) {
  const [busy, setBusy] = useState('')
  const [asking, setAsking] = useState(false)
  const act = async (verb: 'pause' | 'resume' | 'cancel' | 'close' | 'retry', said: string) => {
    setBusy(verb)
    try {
      if (verb === 'retry') {
        const answer = await post<{ retried: number; batch: Batch }>(`/v1/batches/${batch.id}/retry`, { body: {} })
        onChange(answer.batch)
        done(texts.batch.retried(answer.retried))
      } else {
        onChange(await post<Batch>(`/v1/batches/${batch.id}/${verb}`))
        done(said)
      }
    } catch (error) {
      problem(error)
    } finally {
      setBusy('')
    }
  }
  const { counts } = batch
  const failed = counts.failed + counts.quarantined
  const left = counts.pending + counts.queued + counts.processing + counts.retrying
  const goesOn = batch.ended_at === null && batch.status !== 'cancelling'
  const isFed = useSendings().some((sending) => sending.batchId === batch.id)
  return (
    <div class="batch-actions">
      {failed > 0 && (
        <Button kind="primary" icon="retry" busy={busy === 'retry'} onClick={() => act('retry', '')}>
          {texts.batch.retryFailed(failed)}
        </Button>
      )}
      {goesOn && !batch.paused && (
        <Button icon="pause" busy={busy === 'pause'} onClick={() => act('pause', texts.batch.pausedDone)}>
          {texts.batch.pause}
        </Button>
      )}
      {goesOn && batch.paused && (
        <Button kind="primary" icon="play" busy={busy === 'resume'} onClick={() => act('resume', texts.batch.resumedDone)}>
          {texts.batch.resume}
        </Button>
      )}
      {goesOn && batch.open && !isFed && (
        <Button icon="check" busy={busy === 'close'} title={texts.batch.closeTitle} onClick={() => act('close', texts.batch.closed)}>
          {texts.batch.close}
        </Button>
      )}
      {goesOn && (
        <Button icon="stop" busy={busy === 'cancel'} onClick={() => setAsking(true)}>
          {texts.batch.cancel}
        </Button>
      )}
      <a class="button" href={`/?like=${batch.id}`} title={texts.batch.cloneTitle}>
        <Icon name="copy" />
        {texts.batch.clone}
      </a>
      <Downloads batch={batch} />
      {asking && (
        <Confirm
          title={texts.batch.cancelTitle}
          text={texts.batch.cancelText(left)}
          action={texts.batch.cancel}
          onConfirm={() => act('cancel', texts.batch.cancelled)}
          onClose={() => setAsking(false)}
        />
      )}
    </div>
  )
}

function Downloads({ batch }: { batch: Batch }) {
  const at = `/v1/batches/${batch.id}`
  return (
    <Menu icon="download" label={texts.batch.download}>
      {batch.ended_at ? (
        <a href={`${at}/results.zip`} download>
          {texts.batch.downloadZip}
        </a>
      ) : (
        <p class="quiet">{texts.batch.downloadZipLater}</p>
      )}
      <a href={`${at}/report?format=csv`} download>
        {texts.batch.downloadCsv}
      </a>
      <a href={`${at}/report?format=jsonl`} download>
        {texts.batch.downloadJsonl}
      </a>
    </Menu>
  )
}
