/** Asks for the address of a new webhook. */
import { useState } from 'preact/hooks'
import { post } from '../../api/client'
import type { NewWebhook } from '../../api/types'
import { Button } from '../../components/button'
import { Dialog } from '../../components/dialog'
import { Field } from '../../components/field'
import { texts } from '../../texts'

interface WebhookDialogProps {
  onMade: (webhook: NewWebhook) => void
  onClose: () => void
}

export function WebhookDialog({ onMade, onClose }: WebhookDialogProps) {
  const [url, setUrl] = useState('')
  const [everyBatch, setEveryBatch] = useState(true)
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const submit = async (event: SubmitEvent) => {
    event.preventDefault()
    setBusy(true)
    try {
      onMade(await post<NewWebhook>('/v1/webhooks', { body: { url, every_batch: everyBatch } }))
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error))
      setBusy(false)
    }
  }
  return (
    <Dialog title={texts.webhooks.create} onClose={onClose}>
      <form class="stack" onSubmit={(event) => void submit(event)}>
        <Field label={texts.webhooks.url} help={texts.webhooks.urlHelp}>
          {(id, help) => (
            <input id={id} type="url" required autocomplete="off" placeholder="https://" value={url}
              aria-describedby={help} onInput={(event) => setUrl(event.currentTarget.value)} />
          )}
        </Field>
        <label class="line-up">
          <input type="checkbox" checked={everyBatch} onChange={(event) => setEveryBatch(event.currentTarget.checked)} />
          {texts.webhooks.everyBatch}
        </label>
        {problem && (
          <p class="wrong" role="alert">
            {problem}
          </p>
        )}
        <div class="dialog-actions">
          <Button onClick={onClose}>{texts.keys.forget}</Button>
          <Button type="submit" kind="primary" busy={busy}>
            {texts.webhooks.make}
          </Button>
        </div>
      </form>
    </Dialog>
  )
}
