/** A secret that is shown once: to be copied before the dialog is closed. */
import { useRef, useState } from 'preact/hooks'
import { texts } from '../texts'
import { Button } from './button'
import { Dialog } from './dialog'
import { Field } from './field'

interface SecretDialogProps {
  title: string
  text: string
  label: string
  secret: string
  onClose: () => void
}

export function SecretDialog({ title, text, label, secret, onClose }: SecretDialogProps) {
  const [copied, setCopied] = useState<string | null>(null)
  const field = useRef<HTMLInputElement>(null)
  const copy = async () => {
    field.current?.select()
    try {
      await navigator.clipboard.writeText(secret)
      setCopied(texts.secret.copied)
    } catch {
      setCopied(texts.secret.copyYourself) // browsers forbid it to pages without TLS
    }
  }
  return (
    <Dialog title={title} onClose={onClose}>
      <p>{text}</p>
      <Field label={label}>
        {(id) => <input ref={field} id={id} class="secret" readOnly value={secret} onFocus={() => field.current?.select()} />}
      </Field>
      <p class="quiet" role="status">
        {copied}
      </p>
      <div class="dialog-actions">
        <Button icon="copy" kind="primary" onClick={copy}>
          {texts.secret.copy}
        </Button>
        <Button onClick={onClose}>{texts.secret.done}</Button>
      </div>
    </Dialog>
  )
}
