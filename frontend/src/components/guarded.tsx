/** Keeps a part that breaks from taking the rest of the page with it. */
import type { ComponentChildren } from 'preact'
import { useErrorBoundary } from 'preact/hooks'
import { texts } from '../texts'
import { Button } from './button'
import { Notice } from './notice'

interface GuardedProps {
  /** Whether nothing is said when it breaks: for what people can do without. */
  silent?: boolean
  children: ComponentChildren
}

export function Guarded({ silent = false, children }: GuardedProps) {
  const [error, forget] = useErrorBoundary()
  if (!error) return <>{children}</>
  if (silent) return null
  return (
    <Notice heading="h1" title={texts.app.brokenTitle} text={texts.app.brokenText(String(error))}>
      <Button icon="retry" onClick={forget}>
        {texts.app.tryAgain}
      </Button>
    </Notice>
  )
}
