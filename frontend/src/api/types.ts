/** The shapes that `/v1` answers with, as `src/batchmill/wire/responses.py` has them. */

export const BATCH_STATUSES = [
  'uploading', 'validating', 'queued', 'processing', 'finalizing', 'completed',
  'completed_with_errors', 'failed', 'cancelling', 'cancelled', 'expired',
] as const
export type BatchStatus = (typeof BATCH_STATUSES)[number]

export const ITEM_STATUSES = [
  'completed', 'skipped', 'processing', 'retrying', 'queued', 'pending', 'failed', 'quarantined',
  'cancelled',
] as const
/** In the order in which a bar shows them: done first, then what goes on, then what ended badly. */
export type ItemStatus = (typeof ITEM_STATUSES)[number]

export type Counts = Record<ItemStatus, number> & { total: number }

export interface Progress {
  percent: number | null
  items_per_second: number | null
  eta_seconds: number | null
  eta_low_seconds: number | null
  eta_high_seconds: number | null
  bytes_in: number
  bytes_out: number
  bytes_saved: number
  position: number | null
}

export interface Step {
  id?: string
  use: string
  with?: Record<string, unknown>
}

export interface Batch {
  id: string
  owner: string
  status: BatchStatus
  paused: boolean
  pause_reason: string | null
  outage_since?: string | null
  open: boolean
  name: string | null
  tag: string | null
  metadata: Record<string, unknown>
  pipeline: { name?: string; steps: Step[] }
  priority: number
  concurrency: number | null
  halt_after_pct: number | null
  counts: Counts
  progress: Progress
  run: number
  revision: number
  created_at: string
  started_at: string | null
  ended_at: string | null
  expires_at: string | null
}

export interface Output {
  name: string
  bytes: number
  type: string
  width: number | null
  height: number | null
  sha256: string
}

export interface ItemFailure {
  code: string
  message: string
  remedy: string
  retryable: boolean
  step: string | null
  attempt: number
}

export interface Item {
  id: string
  batch_id: string
  custom_id: string | null
  position: number
  status: ItemStatus
  progress: number
  attempts: number
  input: { path: string; bytes: number; sha256: string | null; type: string | null }
  outputs: Output[]
  /** Null in lists. */
  data: Record<string, unknown> | null
  warnings: string[]
  skipped: { reason: string } | null
  error: ItemFailure | null
  timings: { queued_ms: number | null; run_ms: number | null; steps: Record<string, number> }
  due_at: string | null
  started_at: string | null
  ended_at: string | null
}

/** What a stream tells about an item. */
export interface ItemEvent {
  id: string
  batch_id: string
  position: number
  name: string
  status: ItemStatus
  progress: number
  attempts: number
  error: ItemFailure | null
}

export interface FailureGroup {
  id: string
  code: string
  message: string
  remedy: string
  retryable: boolean
  count: number
  first_at: string
  last_at: string
  samples: { item_id: string; name: string; message: string }[]
}

export interface Page<T> {
  data: T[]
  has_more: boolean
  next_cursor: string | null
}

export interface Listing<T> {
  data: T[]
}

/** What has not ended, of one family, tier and rank. */
export interface Lane {
  family: string
  tier: string
  rank: string
  batches: number
  oldest_at: string | null
  counts: Counts
}

export interface Queue {
  counts: Counts
  slots: number
  workers: number
  paused: boolean
  pause_reason: string | null
  paused_at: string | null
  /** Why nothing is started although it is not paused. */
  standstill: string | null
  cleanup_pause_reason: string | null
  lanes: Lane[]
  ended: { minute: number; hour: number }
  /** Of the batches sent within the last 24 hours. */
  last_day: Counts
  free_bytes: number | null
}

export interface Preset {
  name: string
  summary: string
  pipeline: Batch['pipeline']
  /** JSON Schema of each step's options, by the step's id. */
  options: Record<string, Record<string, unknown>>
}

export interface Problem {
  title: string
  status: number
  detail: string
  code: string
  remedy: string
}

export interface Worker {
  id: string
  /** For administrators alone, as `pid`. */
  host: string | null
  pid: number | null
  /** 0: it only serves, or is short of memory or disk. */
  slots: number
  draining: boolean
  paused: boolean
  pause_reason: string | null
  started_at: string
  seen_at: string
  /** Items in hand. */
  running: number
  stats: { short_of?: string }
}

export const SCOPES = ['read', 'write', 'admin'] as const
export type Scope = (typeof SCOPES)[number]

export interface Key {
  id: string
  name: string
  owner: string
  tier: string
  scopes: Scope[]
  created_at: string
  /** To the hour. */
  used_at: string | null
  revoked_at: string | null
}

export interface NewKey extends Key {
  secret: string
}

/** Whom the server takes us for. */
export interface Session {
  owner: string
  tier: string
  admin: boolean
  /** Whether we may list what we have sent. */
  lists: boolean
  key: Key | null
}

export interface Setting {
  /** Dotted: `images.concurrency`. */
  name: string
  variable: string
  meaning: string
  takes: string
  secret: boolean
  given: boolean
  /** Null: not set, or a secret. */
  value: string | null
  default: string | null
  origin: 'flag' | 'environment' | 'file' | 'default'
  given_by: string | null
}

export interface Webhook {
  id: string
  url: string
  every_batch: boolean
  created_at: string
}

export interface NewWebhook extends Webhook {
  secret: string
}

export interface WebhookDelivery {
  id: string
  batch_id: string
  status: 'waiting' | 'delivered' | 'given_up'
  tries: number
  answered: number | null
  error: string | null
  created_at: string
  due_at: string
  ended_at: string | null
}
