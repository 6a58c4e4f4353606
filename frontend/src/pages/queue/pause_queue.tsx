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
      {asking && (
        <PauseDialog title={said.pauseTitle} text={said.pauseText} action={said.pause} onPause={pause}
          onClose={() => setAsking(false)} />
      )}
    </>
  )
}

interface PauseDialogProps {
  title: string
  text: string
  action: string
  onPause: (reason: string) => void
  onClose: () => void
}

/** Asks why something is to be paused; an empty reason is left to the server. */
export function PauseDialog({ title, text, action, onPause, onClose }: PauseDialogProps) {
  const [reason, setReason] = useState('')
  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    onPause(reason.trim())
  }
  return (
    <Dialog title={title} onClose={onClose}>
      <p>{text}</p>
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
            {action}
          </Button>
        </div>
      </form>
    </Dialog>
  )
}
