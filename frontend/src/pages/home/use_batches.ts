/** The newest batches, live, with those that appear from elsewhere. */
import { useEffect, useState } from 'preact/hooks'
import { get } from '../../api/client'
import type { LiveState } from '../../api/live'
import type { Batch, Page } from '../../api/types'
import { useLive } from '../../live_hook'
import { useLoaded, useTicking } from '../../loading'

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
  const { value, error, reload } = useLoaded((signal) => get<Page<Batch>>('/v1/batches', { query: { limit: FIRST }, signal }), [])
  const [known, setKnown] = useState<ReadonlyMap<string, Batch>>(new Map())
  const [cursor, setCursor] = useState<string | null>(null)
  useTicking(reload, LOOK_MS)
  useEffect(reload, [sent.join()])
  useEffect(() => {
    if (!value) return
    setKnown((before) => withAll(before, value.data))
    setCursor((before) => before ?? value.next_cursor)
  }, [value])
  const shown = value && [...known.values()].sort((one, other) => (one.id < other.id ? 1 : -1))
  const running = (shown ?? []).filter((batch) => batch.ended_at === null).map((batch) => batch.id)
  const state = useLive(running.slice(0, FOLLOWED), {
    onBatch: (batch) => setKnown((before) => withAll(before, [batch])),
    onDeleted: (id) => setKnown((before) => new Map([...before].filter(([each]) => each !== id))),
  })
  const more = async () => {
    const page = await get<Page<Batch>>('/v1/batches', { query: { limit: FIRST, cursor } })
    setKnown((before) => withAll(before, page.data))
    setCursor(page.next_cursor)
  }
  return { shown, error, state, hasMore: cursor !== null, reload, more }
}

/** A late answer never takes the place of newer news. */
function withAll(before: ReadonlyMap<string, Batch>, batches: readonly Batch[]): ReadonlyMap<string, Batch> {
  const after = new Map(before)
  for (const batch of batches) {
    if ((after.get(batch.id)?.revision ?? -1) <= batch.revision) after.set(batch.id, batch)
  }
  return after
}
