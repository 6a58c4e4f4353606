/** Stands in for a page until the server has said who we are; or says that it does not answer. */
import { useSession } from '../session'
import { texts } from '../texts'
import { ProblemNotice } from './notice'

export function SessionAwaited() {
  const { trouble, reload } = useSession()
  if (trouble) return <ProblemNotice heading="h1" error={trouble} onRetry={reload} />
  return <p class="quiet">{texts.app.loading}</p>
}
