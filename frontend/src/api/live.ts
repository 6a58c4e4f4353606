/**
 * Follows batches: one stream of events, polling where the stream does not get through, and the
 * honest word `offline` when neither does.
 *
 *     connecting ──► live ──(stream breaks)──► polling ──(no answer)──► offline
 *                     ▲───────(stream opens again)────────┴───────────────┘
 *
 * A browser gives a server six connections, and a stream holds one: what nobody sees, or what hardly
 * changes any more, is asked for now and then instead.
 */
import { get, ProblemError } from './client'
import { ITEM_STATUSES, type Batch, type ItemEvent } from './types'

export type LiveState = 'connecting' | 'live' | 'polling' | 'offline'

export interface Follower {
  onBatch(batch: Batch): void
  onState(state: LiveState): void
  onItem?(item: ItemEvent): void
  /** More changed than single events tell: look at the items again. */
  onItemsChanged?(batchId: string): void
  onDeleted?(batchId: string): void
}

const RECONNECT_MS = 5_000
/** How long to wait before asking again: without a stream, of what is calm, in a hidden tab. */
const PAUSES_MS = { polling: 2_000, calm: 5_000, hidden: 15_000 }

/** Follow batches until the returned function is called; `calm` ones, which have ended, without a stream. */
export function follow(ids: readonly string[], calm: boolean, follower: Follower, pausesMs = PAUSES_MS): () => void {
  if (ids.length === 0) return () => undefined
  const following = new Following(ids, calm, follower, pausesMs)
  return () => following.stop()
}

class Following {
  private source: EventSource | null = null
  private poll: number | undefined
  private reconnect: number | undefined
  private state: LiveState | null = null
  private isOpen = false
  private stopped = false

  constructor(
    private readonly ids: readonly string[],
    private readonly calm: boolean,
    private readonly follower: Follower,
    private readonly pausesMs: typeof PAUSES_MS,
  ) {
    this.say('connecting')
    document.addEventListener('visibilitychange', this.turn)
    this.turn()
  }

  stop(): void {
    this.stopped = true
    document.removeEventListener('visibilitychange', this.turn)
    this.rest()
  }

  private readonly turn = (): void => {
    this.rest()
    if (document.hidden || this.calm) this.lookLater(this.pauseMs)
    else this.connect()
  }

  private rest(): void {
    this.source?.close()
    this.isOpen = false
    clearTimeout(this.poll)
    this.poll = undefined
    clearTimeout(this.reconnect)
  }

  private get pauseMs(): number {
    if (document.hidden) return this.pausesMs.hidden
    return this.calm ? this.pausesMs.calm : this.pausesMs.polling
  }

  private connect(): void {
    const source = new EventSource(`/v1/events?batches=${this.ids.join(',')}`)
    this.source = source
    source.onopen = () => this.opened()
    source.onerror = () => this.broke(source)
    const on = <T>(name: string, tell: (told: T) => void) =>
      source.addEventListener(name, (event) => tell(JSON.parse((event as MessageEvent).data)))
    on<Batch>('batch.updated', (batch) => this.follower.onBatch(batch))
    on<{ batch_id: string }>('items.changed', (told) => this.follower.onItemsChanged?.(told.batch_id))
    on<{ id: string }>('batch.deleted', (told) => this.follower.onDeleted?.(told.id))
    for (const status of ITEM_STATUSES) {
      on<ItemEvent>(`item.${status}`, (item) => this.follower.onItem?.(item))
    }
  }

  private opened(): void {
    this.isOpen = true
    clearTimeout(this.poll)
    this.poll = undefined
    this.say('live')
  }

  /** A browser tries again by itself after a lost connection, but not after a refusal. */
  private broke(source: EventSource): void {
    this.isOpen = false
    if (this.stopped) return
    if (this.poll === undefined) this.lookLater(this.pauseMs / 4)
    if (source.readyState !== EventSource.CLOSED) return
    clearTimeout(this.reconnect)
    this.reconnect = window.setTimeout(() => this.connect(), RECONNECT_MS)
  }

  private lookLater(ms: number): void {
    clearTimeout(this.poll)
    this.poll = window.setTimeout(() => void this.look(), ms)
  }

  private async look(): Promise<void> {
    for (const id of this.ids) await this.lookAt(id)
    if (!this.stopped && !this.isOpen) this.lookLater(this.pauseMs)
  }

  private async lookAt(id: string): Promise<void> {
    try {
      const batch = await get<Batch>(`/v1/batches/${id}`)
      if (this.stopped || this.isOpen) return
      this.say('polling')
      this.follower.onBatch(batch)
      this.follower.onItemsChanged?.(id)
    } catch (error) {
      if (this.stopped || !(error instanceof ProblemError)) return
      if (error.status === 404 || error.status === 403) this.follower.onDeleted?.(id)
      else if (!this.isOpen && error.isOutage) this.say('offline')
    }
  }

  private say(state: LiveState): void {
    if (this.stopped || state === this.state) return
    this.state = state
    this.follower.onState(state)
  }
}
