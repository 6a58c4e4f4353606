/**
 * The items of a batch as rows by number, read page by page, of which only those near the place
 * that is looked at are kept.
 *
 * The whole list is dense: row n is the item at position n, so any page can be read at once. A
 * filtered list is a chain: each page says where the next begins, so it grows at its end.
 */
import type { Item, ItemEvent, ItemStatus, Page } from '../../api/types'

export const PAGE_ROWS = 100
export const PAGES_KEPT = 12
const AT_ONCE = 2
const RETRY_MS = 2_000

export interface Wanted {
  status: ItemStatus | null
  /** Id of a group of failures. */
  group: string | null
  /** Start of the name. */
  q: string
}

export const EVERYTHING: Wanted = { status: null, group: null, q: '' }

export interface Ask extends Wanted {
  start: number | null
  cursor: string | null
}

export type ReadPage = (ask: Ask) => Promise<Page<Item>>

interface Kept {
  items: Item[]
  stale: boolean
}

export class Rows {
  private readonly kept = new Map<number, Kept>()
  private readonly reading = new Set<number>()
  /** Where each page of a chain begins; a page without an entry can't be read yet. */
  private cursors: (string | null)[] = [null]
  private end: number | null = null
  private near = { first: 0, last: 0 }
  private closed = false
  /** Set after a page could not be read: until then nothing is asked. */
  private retry: ReturnType<typeof setTimeout> | undefined

  constructor(
    private readonly wanted: Wanted,
    private total: number,
    private readonly read: ReadPage,
    private readonly onChange: (error?: unknown) => void,
    private readonly retryMs = RETRY_MS,
  ) {}

  /** How many rows can be scrolled to now. */
  get length(): number {
    if (this.isDense) return this.total
    return this.end ?? this.cursors.length * PAGE_ROWS
  }

  /** Whether the list is known to have no row at all. */
  get isEmpty(): boolean {
    return this.length === 0
  }

  /** How many items are held in memory. */
  get size(): number {
    let size = 0
    for (const page of this.kept.values()) size += page.items.length
    return size
  }

  /** The item in a row; undefined: it is not read yet. */
  at(row: number): Item | undefined {
    return this.kept.get(Math.floor(row / PAGE_ROWS))?.items[row % PAGE_ROWS]
  }

  /** Have these rows read, and forget those that are far away. */
  look(first: number, last: number): void {
    this.near = { first: Math.floor(first / PAGE_ROWS), last: Math.floor(Math.max(first, last) / PAGE_ROWS) }
    this.forget()
    this.next()
  }

  /** Read again what is looked at; the rest when it is looked at. */
  refresh(total: number): void {
    this.total = total
    for (const page of this.kept.values()) page.stale = true
    this.next()
  }

  /** Show at once what an event tells of an item that is held; the rest comes with the next refresh. */
  put(event: ItemEvent): void {
    for (const page of this.kept.values()) {
      const item = page.items.find((each) => each.id === event.id)
      if (!item) continue
      Object.assign(item, { status: event.status, progress: event.progress, attempts: event.attempts, error: event.error })
      this.onChange()
      return
    }
  }

  close(): void {
    this.closed = true
    clearTimeout(this.retry)
    this.kept.clear()
  }

  private get isDense(): boolean {
    return this.wanted.status === null && this.wanted.group === null && this.wanted.q === ''
  }

  private next(): void {
    if (this.retry !== undefined) return
    for (let page = this.near.first; page <= this.near.last && this.reading.size < AT_ONCE; page += 1) {
      const known = this.kept.get(page)
      if ((!known || known.stale) && !this.reading.has(page) && this.canRead(page)) void this.readOne(page)
    }
  }

  private canRead(page: number): boolean {
    return this.isDense ? page * PAGE_ROWS < this.total : page < this.cursors.length
  }

  private async readOne(page: number): Promise<void> {
    this.reading.add(page)
    try {
      const found = await this.read({ ...this.wanted, ...this.place(page) })
      this.reading.delete(page)
      if (this.closed) return
      this.keep(page, found)
      this.onChange()
    } catch (error) {
      this.reading.delete(page)
      if (!this.closed) this.failed(error)
      return
    }
    this.forget()
    this.next()
  }

  private failed(error: unknown): void {
    clearTimeout(this.retry)
    this.retry = setTimeout(() => {
      this.retry = undefined
      this.next()
    }, this.retryMs)
    this.onChange(error)
  }

  private place(page: number): { start: number | null; cursor: string | null } {
    if (this.isDense) return { start: page * PAGE_ROWS, cursor: null }
    return { start: null, cursor: this.cursors[page] ?? null }
  }

  private keep(page: number, found: Page<Item>): void {
    this.kept.set(page, { items: found.data, stale: false })
    if (this.isDense) return
    if (found.next_cursor !== null) {
      this.cursors[page + 1] = found.next_cursor
      if (this.end !== null && this.end <= (page + 1) * PAGE_ROWS) this.end = null
      return
    }
    this.end = page * PAGE_ROWS + found.data.length
    this.cursors.length = page + 1
    for (const number of this.kept.keys()) if (number > page) this.kept.delete(number)
  }

  /** Drop the pages farthest from where somebody looks. */
  private forget(): void {
    const far = (page: number) => Math.max(this.near.first - page, page - this.near.last, 0)
    const byDistance = [...this.kept.keys()].sort((a, b) => far(b) - far(a))
    for (const page of byDistance.slice(0, Math.max(0, this.kept.size - PAGES_KEPT))) this.kept.delete(page)
  }
}
