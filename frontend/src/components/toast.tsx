/** Short messages at the page's edge, read out to those who do not see them. */
import { useEffect, useState } from 'preact/hooks'
import { texts } from '../texts'
import { IconButton } from './button'

interface Toast {
  no: number
  text: string
  kind: 'done' | 'problem'
}

const SHOWN_MS = 6_000
const MOST = 3
const EVENT = 'batchmill:toast'
let last = 0

/** Tell that something was done. */
export const done = (text: string): void => tell(text, 'done')
/** Tell what went wrong; it stays until it is closed. */
export const problem = (error: unknown): void =>
  tell(error instanceof Error ? error.message : String(error), 'problem')

function tell(text: string, kind: Toast['kind']): void {
  last += 1
  const detail: Toast = { no: last, text, kind }
  window.dispatchEvent(new CustomEvent(EVENT, { detail }))
}

export function Toasts() {
  const [toasts, setToasts] = useState<Toast[]>([])
  const drop = (no: number) => setToasts((shown) => shown.filter((each) => each.no !== no))
  useEffect(() => {
    const add = (event: Event) => {
      const toast = (event as CustomEvent<Toast>).detail
      setToasts((shown) => [...shown, toast].slice(-MOST))
      if (toast.kind === 'done') setTimeout(() => drop(toast.no), SHOWN_MS)
    }
    window.addEventListener(EVENT, add)
    return () => window.removeEventListener(EVENT, add)
  }, [])
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.map((toast) => (
        <div key={toast.no} class={`toast ${toast.kind}`}>
          <span>{toast.text}</span>
          <IconButton icon="close" label={texts.app.close} onClick={() => drop(toast.no)} />
        </div>
      ))}
    </div>
  )
}
