/** What stands where there is nothing to show: loading, empty, or a problem with its remedy. */
import type { ComponentChildren } from 'preact'
import { ProblemError } from '../api/client'
import { texts } from '../texts'
import { Button } from './button'
import { Marked } from './marked'

interface NoticeProps {
  title: string
  /** `h1` where the notice is the whole page. */
  heading?: 'h1' | 'h2'
  text?: string
  children?: ComponentChildren
}

export function Notice({ title, heading: Heading = 'h2', text, children }: NoticeProps) {
  return (
    <div class="notice">
      <Heading>{title}</Heading>
      {text && <p>{text}</p>}
      {children}
    </div>
  )
}

interface ProblemNoticeProps {
  error: unknown
  heading?: 'h1' | 'h2'
  onRetry?: () => void
}

export function ProblemNotice({ error, heading: Heading = 'h2', onRetry }: ProblemNoticeProps) {
  const message = error instanceof Error ? error.message : String(error)
  const remedy = error instanceof ProblemError ? error.remedy : ''
  return (
    <div class="notice" role="alert">
      <Heading>{texts.app.problem}</Heading>
      <p>{message}</p>
      {remedy && (
        <p>
          <Marked text={remedy} />
        </p>
      )}
      {onRetry && (
        <Button icon="retry" onClick={onRetry}>
          {texts.app.tryAgain}
        </Button>
      )}
    </div>
  )
}
