/** Stops all work for a while, with a reason that everybody is told. */
import { useState } from 'preact/hooks'
import { post } from '../../api/client'
import type { Queue } from '../../api/types'
import { Button } from '../../components/button'
import { Dialog } from '../../components/dialog'
import { Field } from '../../components/field'
import { done, problem } from '../../components/toast'
import { queueChanged } from '../../queue_notice'
import { texts } from '../../texts'

const said = texts.queue

export function PauseQueue({ queue, onChange }: { queue: Queue; onChange: () => void }) {
  const [asking, setAsking] = useState(false)
  const [busy, setBusy] = useState(false)
  const act = async (action: 'pause' | 'resume', body: object, text: string) => {
    setAsking(false)
    setBusy(true)
    try {
      await post(`/v1/queue/${action}`, { body })
      done(text)
    } catch (error) {
      problem(error)
    } finally {
      setBusy(false)
      queueChanged()
      onChange()
    }
  }
  if (queue.paused) {
    return (
      <Button kind="primary" icon="play" busy={busy} onClick={() => void act('resume', {}, said.resumed)}>
        {said.resume}
      </Button>
    )
  }
  const pause = (reason: string) => void act('pause', reason ? { reason } : {}, said.paused)
  return (
    <>
      <Button icon="pause" busy={busy} onClick={() => setAsking(true)}>
        {said.pause}
      </Button>
      {asking && <PauseDialog onPause={pause} onClose={() => setAsking(false)} />}
    </>
  )
}

function PauseDialog({ onPause, onClose }: { onPause: (reason: string) => void; onClose: () => void }) {
  const [reason, setReason] = useState('')
  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    onPause(reason.trim())
  }
  return (
    <Dialog title={said.pauseTitle} onClose={onClose}>
      <p>{said.pauseText}</p>
      <form class="stack" onSubmit={submit}>
        <Field label={said.reason} help={said.reasonHelp}>
          {(id, help) => (
            <input id={id} aria-describedby={help} maxLength={200} autocomplete="off" value={reason}
              onInput={(event) => setReason(event.currentTarget.value)} />
          )}
        </Field>
        <div class="dialog-actions">
          <Button onClick={onClose}>{texts.app.keep}</Button>
          <Button type="submit" kind="primary" icon="pause">
            {said.pause}
          </Button>
        </div>
      </form>
    </Dialog>
  )
}
