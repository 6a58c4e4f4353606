/** The newest batches, live, with those that appear from elsewhere. */
import { useEffect, useState } from 'preact/hooks'
import { get } from '../../api/client'
import type { LiveState } from '../../api/live'
import type { Batch, Page } from '../../api/types'
import { useLive } from '../../live_hook'
import { useLoaded, useTicking } from '../../loading'
import { newestFirst, withAll, withNewest, without, type Known } from './known'

export interface BatchList {
  /** Newest first; null before the first answer. */
  shown: readonly Batch[] | null
  error: unknown
  state: LiveState
  hasMore: boolean
  reload: () => void
  more: () => Promise<void>
}

const LOOK_MS = 10_000
const FIRST = 20
const FOLLOWED = 100

/** `sent` are batches of this page: when one is added or done, the list is read again. */
export function useBatches(sent: readonly string[]): BatchList {
  const { value, error, reload, refresh } = useLoaded((signal) => get<Page<Batch>>('/v1/batches', { query: { limit: FIRST }, signal }), [])
  const [known, setKnown] = useState<Known>(new Map())
  // Undefined before the first answer, null behind the last batch.
  const [cursor, setCursor] = useState<string | null | undefined>(undefined)
  useTicking(refresh, LOOK_MS)
  useEffect(reload, [sent.join()])
  useEffect(() => {
    if (!value) return
    setKnown((before) => withNewest(before, value))
    setCursor((before) => (before === undefined ? value.next_cursor : before))
  }, [value])
  const shown = value && newestFirst(known)
  const running = (shown ?? []).filter((batch) => batch.ended_at === null).map((batch) => batch.id)
  const state = useLive(running.slice(0, FOLLOWED), false, {
    onBatch: (batch) => setKnown((before) => withAll(before, [batch])),
    onDeleted: (id) => setKnown((before) => without(before, id)),
  })
  const more = async () => {
    const page = await get<Page<Batch>>('/v1/batches', { query: { limit: FIRST, cursor: cursor ?? null } })
    setKnown((before) => withAll(before, page.data))
    setCursor(page.next_cursor)
  }
  return { shown, error, state, hasMore: typeof cursor === 'string', reload, more }
}
