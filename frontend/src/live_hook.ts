/** Follows batches for as long as a page shows them. */
import { useEffect, useRef, useState } from 'preact/hooks'
import { follow, type Follower, type LiveState } from './api/live'

/** Return how news arrive; the handlers of the last render are called. `calm`: hardly any are expected. */
export function useLive(ids: readonly string[], calm: boolean, handlers: Omit<Follower, 'onState'>): LiveState {
  const [state, setState] = useState<LiveState>('connecting')
  const latest = useRef(handlers)
  latest.current = handlers
  useEffect(
    () =>
      follow(ids, calm, {
        onState: setState,
        onBatch: (batch) => latest.current.onBatch(batch),
        onItem: (item) => latest.current.onItem?.(item),
        onItemsChanged: (id) => latest.current.onItemsChanged?.(id),
        onDeleted: (id) => latest.current.onDeleted?.(id),
      }),
    [ids.join(), calm],
  )
  return state
}
