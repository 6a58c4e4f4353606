/** The rows of a batch for as long as a page shows them, read again while the batch changes. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { get } from '../../api/client'
import type { Batch, Item, Page } from '../../api/types'
import { PAGE_ROWS, Rows, type Ask, type Wanted } from './rows'

/** Rows are read again at most this often, however fast files end. */
const REFRESH_MS = 1_000

interface Shown {
  rows: Rows
  /** Another one whenever the rows have changed. */
  version: number
  problem: unknown
}

export function useRows(batch: Batch, wanted: Wanted): Shown {
  const [version, setVersion] = useState(0)
  const [problem, setProblem] = useState<unknown>(null)
  const rows = useMemo(() => {
    const read = ({ start, cursor, status, group, q }: Ask) =>
      get<Page<Item>>(`/v1/batches/${batch.id}/items`, {
        query: { limit: PAGE_ROWS, start, cursor, status, group, q },
      })
    return new Rows(wanted, batch.counts.total, read, (error) => {
      setProblem(error ?? null)
      if (error === undefined) setVersion((number) => number + 1)
    })
  }, [batch.id, wanted])
  useEffect(() => () => rows.close(), [rows])
  const latest = useRef({ rows, total: 0 })
  latest.current = { rows, total: batch.counts.total }
  const timer = useRef<number | undefined>(undefined)
  useEffect(() => {
    timer.current ??= window.setTimeout(() => {
      timer.current = undefined
      latest.current.rows.refresh(latest.current.total)
    }, REFRESH_MS)
  }, [batch.revision, rows])
  useEffect(() => () => clearTimeout(timer.current), [])
  return { rows, version, problem }
}
