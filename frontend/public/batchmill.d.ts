/**
 * batchmill.js: files through a batchmill server, or through this browser while the server is away.
 *
 *     import { Batchmill } from './batchmill.js'
 *     const mill = new Batchmill({ server: 'https://mill.example' })
 *     const done = await mill.process(input.files, { pipeline: 'web' })
 *     for (const item of done.items) show(item.name, await item.outputs[0]?.blob())
 *     console.log(done.via) // 'server' or 'browser'
 */

export interface Settings {
  /** Address of the server; left out, the one that this module came from. */
  server?: string
  /** Sent with every request. Whoever can read the page can read it: use one that may do little. */
  apiKey?: string
  /** `'none'`: fail when the server is away; `'browser'`, the default: do the work here. */
  fallback?: 'browser' | 'none'
  /** How long to wait for a sign of life; 3,000 ms. */
  detectMs?: number
  /** How often to ask where events do not get through; 500 ms. */
  pollMs?: number
  /** How long to wait for results after the files were sent; 180,000 ms. */
  waitMs?: number
}

export interface Step {
  /** An operation: `resize`, `convert`, … */
  use: string
  with?: Record<string, unknown>
}

export interface Order {
  /** Name of a preset, or a pipeline of your own. */
  pipeline: string | { steps: Step[] }
  /** Called with numbers that never go back within a phase. */
  onProgress?: (progress: Progress) => void
  /** Stops waiting and the work in the browser; a batch that was sent is cancelled. */
  signal?: AbortSignal
}

export type Via = 'server' | 'browser'

export interface Progress {
  via: Via
  phase: 'sending' | 'processing'
  /** Of the phase, 0 to 100. */
  percent: number
  /** Files that have ended, and all. */
  ended: number
  total: number
}

export interface Done {
  /** Who did the work. */
  via: Via
  /** Why the browser did it; null when the server did. */
  reason: string | null
  batchId: string | null
  /** One for each file, in their order; a ZIP that the server unpacked has one for each entry. */
  items: Item[]
}

export interface Item {
  name: string
  status: 'completed' | 'failed' | 'skipped' | 'quarantined' | 'cancelled'
  /** Why it failed, as a sentence. */
  error: { code: string; message: string } | null
  /** What is different from what was asked for. */
  warnings: string[]
  outputs: Output[]
}

export interface Output {
  name: string
  type: string
  bytes: number
  width: number | null
  height: number | null
  blob(): Promise<Blob>
}

/** The server refused the files, or nobody could do the work. */
export class BatchmillError extends Error {
  /** Stable, as in the server's list of errors. */
  readonly code: string
  /** HTTP status; 0: no answer. */
  readonly status: number
}

export class Batchmill {
  constructor(settings?: Settings)
  /** Whether the server answers within `detectMs`. */
  isAvailable(): Promise<boolean>
  /**
   * Send files, wait, return what was made. One file that fails never stops the others.
   *
   * Throws `BatchmillError` when the server refuses the request, or when neither the server
   * nor this browser can do it.
   */
  process(files: Iterable<File>, order: Order): Promise<Done>
}
