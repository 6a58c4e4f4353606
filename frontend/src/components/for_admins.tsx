/** What stands on a page for administrators when somebody else opens it: why, and where to go on. */
import type { Session } from '../api/types'
import { texts } from '../texts'
import { Notice } from './notice'

interface ForAdminsProps {
  title: string
  session: Session
  heading?: 'h1' | 'h2'
}

export function ForAdmins({ title, session, heading = 'h1' }: ForAdminsProps) {
  const scopes = session.key?.scopes
  return (
    <Notice heading={heading} title={title} text={scopes ? texts.forAdmins.key(scopes) : texts.forAdmins.noKey}>
      <a class="button" href="/sign-in">
        {texts.forAdmins.signIn}
      </a>
    </Notice>
  )
}
