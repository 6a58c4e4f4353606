/** Whom the server takes this browser for; read once, and again after signing in or out. */
import { createContext } from 'preact'
import { useContext, useEffect } from 'preact/hooks'
import { get, onRefused, post, ProblemError, remove } from './api/client'
import type { Session } from './api/types'
import { useLoaded } from './loading'

export interface Known {
  /** Null until the server has answered, and while it refuses us. */
  session: Session | null
  /** What the server says to callers like us whom it does not serve. */
  refusal: ProblemError | null
  /** Why the server could not be asked. */
  trouble: unknown
  reload: () => void
}

export const SessionContext = createContext<Known>({ session: null, refusal: null, trouble: null, reload: () => undefined })

export const useSession = (): Known => useContext(SessionContext)

/** Ask the server; for the frame of the page alone. */
export function useKnown(): Known {
  const { value, error, reload, refresh } = useLoaded((signal) => get<Session>('/v1/session', { signal }), [])
  useEffect(() => onRefused(refresh), [refresh])
  const refused = error instanceof ProblemError && error.status === 401
  return { session: refused ? null : value, refusal: refused ? error : null, trouble: refused ? null : error, reload }
}

export const signIn = (key: string): Promise<void> => post('/v1/session', { body: { key } })
export const signOut = (): Promise<void> => remove('/v1/session')
