/** What Home knows of batches, from lists and from news, by their ids. */
import type { Batch, Page } from '../../api/types'

export type Known = ReadonlyMap<string, Batch>

/** Add news; a late answer never takes the place of newer ones. */
export function withAll(before: Known, batches: readonly Batch[]): Known {
  const after = new Map(before)
  for (const batch of batches) {
    if ((after.get(batch.id)?.revision ?? -1) <= batch.revision) after.set(batch.id, batch)
  }
  return after
}

/** Take the newest batches as the server lists them: one that is missing among them was removed. */
export function withNewest(before: Known, page: Page<Batch>): Known {
  const listed = new Set(page.data.map((batch) => batch.id))
  const last = page.next_cursor === null ? '' : (page.data.at(-1)?.id ?? '')
  const left = [...before].filter(([id]) => listed.has(id) || id < last)
  return withAll(new Map(left), page.data)
}

export function without(before: Known, gone: string): Known {
  return new Map([...before].filter(([id]) => id !== gone))
}

export function newestFirst(known: Known): Batch[] {
  return [...known.values()].sort((one, other) => (one.id < other.id ? 1 : -1))
}
