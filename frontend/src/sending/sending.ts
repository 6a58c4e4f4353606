/**
 * Files on their way into a batch: some uploads at once, each goes on where a broken line left it.
 *
 *     waiting ──► sending ──► sent ──► added to the batch
 *        ▲            │
 *        ├── pause, no answer        refused: the server will not have this file
 *        └── the server has forgotten the upload
 *
 * A sending outlives its component and, as far as `kept.ts` goes, its page.
 */
import type { DetailedError, Upload } from 'tus-js-client'
import { post, problemOf, ProblemError } from '../api/client'
import type { Batch } from '../api/types'
import { texts } from '../texts'
import type { Picked } from './gather'
import { claim } from './claims'
import { forget, keep, type Added, type Kept } from './kept'
import { Pace } from './pace'

export type EntryState = 'waiting' | 'sending' | 'sent' | 'added' | 'refused'
export type SendingState = 'sending' | 'paused' | 'offline' | 'done'

export interface Entry {
  readonly path: string
  readonly bytes: number
  readonly modified: number
  /** Null after a reload, until the file is chosen again. */
  file: File | null
  state: EntryState
  url: string | null
  sentBytes: number
  error: string | null
  upload: Upload | null
  /** The batch was asked to take it and has not answered yet: it may have it. */
  adding: boolean
}

export interface Order {
  pipeline: string | Batch['pipeline']
  step_options?: Record<string, Record<string, unknown>>
  name?: string | null
}

const AT_ONCE = 3
const ADDED_AT_ONCE = 20
const RETRY_MS = 3_000
const SAVE_MS = 1_000
const IN_ONE_REQUEST_BYTES = 2_000_000
/** Refusals of the moment: not signed in, overloaded, or the upload is in other hands. */
const PASSING = [401, 403, 408, 409, 423, 429]

export class Sending {
  readonly pace = new Pace()
  state: SendingState = 'sending'
  /** Why nothing goes on, as a sentence. */
  trouble: string | null = null
  /** Whether a reload can go on from here. */
  survives = true
  private adding: Promise<void> | null = null
  private timer: number | undefined
  private saveTimer: number | undefined
  private readonly release: () => void

  constructor(
    readonly batchId: string,
    readonly title: string,
    readonly entries: Entry[],
    private readonly onChange: () => void,
    /** What an earlier page had brought into the batch. */
    private readonly earlier: Added = { files: 0, bytes: 0 },
  ) {
    this.release = claim(batchId)
    addEventListener('pagehide', this.save)
    this.save()
    this.pump()
  }

  /** Make a batch that waits for files. */
  static async open(order: Order): Promise<Batch> {
    return post<Batch>('/v1/batches', { body: { ...order, keep_open: true } })
  }

  get totalBytes(): number {
    return this.entries.reduce((sum, entry) => sum + entry.bytes, this.earlier.bytes)
  }

  get sentBytes(): number {
    return this.entries.reduce((sum, entry) => sum + (isOver(entry) ? entry.bytes : entry.sentBytes), this.earlier.bytes)
  }

  get totalFiles(): number {
    return this.entries.length + this.earlier.files
  }

  get sentFiles(): number {
    return this.entries.filter(isOver).length + this.earlier.files
  }

  /** Entries whose file this page does not have. */
  get missing(): Entry[] {
    return this.entries.filter((entry) => entry.file === null && entry.state === 'waiting')
  }

  get refused(): number {
    return this.entries.filter((entry) => entry.state === 'refused').length
  }

  /** Whether bytes are on their way, or about to be. */
  get goesOn(): boolean {
    return this.state === 'sending' && this.entries.some((entry) => entry.state === 'sending' || (entry.state === 'waiting' && entry.file))
  }

  pause(): void {
    this.state = 'paused'
    this.rest()
  }

  resume(): void {
    this.state = 'sending'
    this.trouble = null
    this.pump()
  }

  /** Try once more what the server refused. */
  retry(): void {
    for (const entry of this.entries) {
      if (entry.state === 'refused') Object.assign(entry, { state: 'waiting', error: null, url: null, sentBytes: 0 })
    }
    this.resume()
  }

  /** Send no more; what has arrived is processed. */
  async finish(): Promise<void> {
    this.state = 'paused'
    for (const entry of this.entries) void entry.upload?.abort(true).catch(() => undefined)
    await this.adding
    await this.add(true)
    await this.close()
  }

  /** Take files chosen again for the entries that lack theirs; return how many fitted. */
  supply(picked: Picked[]): number {
    const known = new Map(picked.flatMap(({ path, file }) => [path, file.name].map((name) => [mark(name, file.size, file.lastModified), file] as const)))
    const missing = this.missing
    for (const entry of missing) {
      entry.file = known.get(mark(entry.path, entry.bytes, entry.modified)) ?? known.get(mark(base(entry.path), entry.bytes, entry.modified)) ?? null
    }
    this.resume()
    return missing.length - this.missing.length
  }

  private pump(): void {
    if (this.state === 'sending') {
      const busy = this.entries.filter((entry) => entry.state === 'sending').length
      const next = this.entries.filter((entry) => entry.state === 'waiting' && entry.file)
      for (const entry of next.slice(0, Math.max(0, AT_ONCE - busy))) void this.send(entry)
      void this.add()
    }
    this.onChange()
  }

  private async send(entry: Entry): Promise<void> {
    entry.state = 'sending'
    const tus = await import('tus-js-client') // most visits send nothing
    const { file } = entry
    if (!file || this.state !== 'sending') return this.wait(entry)
    entry.upload = new tus.Upload(file, {
      endpoint: `${location.origin}/v1/uploads`,
      uploadUrl: entry.url,
      metadata: { relativePath: entry.path },
      retryDelays: null, // this class tries again, for as long as it takes
      storeFingerprintForResuming: false,
      uploadDataDuringCreation: entry.bytes <= IN_ONE_REQUEST_BYTES,
      onUploadUrlAvailable: () => this.begun(entry),
      onProgress: (sent) => this.moved(entry, sent),
      onSuccess: () => this.arrived(entry),
      onError: (error) => void this.failed(entry, error as DetailedError),
    })
    entry.upload.start()
  }

  private begun(entry: Entry): void {
    entry.url = entry.upload?.url ?? null
    this.saveSoon()
  }

  private moved(entry: Entry, sent: number): void {
    this.pace.note(Math.max(0, sent - entry.sentBytes))
    entry.sentBytes = sent
    this.onChange()
  }

  private arrived(entry: Entry): void {
    Object.assign(entry, { state: 'sent', url: entry.upload?.url ?? entry.url, sentBytes: entry.bytes, upload: null })
    this.trouble = null
    this.saveSoon()
    this.pump()
  }

  private async failed(entry: Entry, error: DetailedError): Promise<void> {
    const answer = error.originalResponse
    entry.upload = null
    if (!error.originalRequest) return this.refuse(entry, texts.home.unreadable)
    if (!answer || passes(answer.getStatus())) {
      this.wait(entry)
      return this.offline(answer ? await sentenceOf(answer.getStatus(), answer.getBody()) : texts.app.unreachable)
    }
    this.refuse(entry, await sentenceOf(answer.getStatus(), answer.getBody()))
  }

  private refuse(entry: Entry, error: string): void {
    Object.assign(entry, { state: 'refused', error })
    this.saveSoon()
    this.pump()
  }

  private wait(entry: Entry): void {
    Object.assign(entry, { state: 'waiting', upload: null })
    this.onChange()
  }

  /** Stop for a moment, and go on by itself. */
  private offline(trouble: string): void {
    if (this.state !== 'sending') return
    this.state = 'offline'
    this.trouble = trouble
    this.rest()
    this.timer = window.setTimeout(() => this.state === 'offline' && this.resume(), RETRY_MS)
  }

  private rest(): void {
    clearTimeout(this.timer)
    for (const entry of this.entries) {
      if (entry.state !== 'sending') continue
      void entry.upload?.abort().catch(() => undefined)
      Object.assign(entry, { state: 'waiting', upload: null })
    }
    this.save()
    this.onChange()
  }

  /** Put what has arrived into the batch, some at once, and close it behind the last one. */
  private add(all = false): Promise<void> {
    this.adding ??= this.addReady(all).finally(() => (this.adding = null))
    return this.adding
  }

  private async addReady(all: boolean): Promise<void> {
    try {
      for (;;) {
        const ready = this.entries.filter((entry) => entry.state === 'sent')
        const more = this.entries.some((entry) => entry.state === 'sending' || (entry.state === 'waiting' && entry.file))
        if (ready.length === 0 || (more && !all && ready.length < ADDED_AT_ONCE)) break
        await this.addSome(ready.slice(0, ADDED_AT_ONCE))
      }
      if (!all && this.entries.every((entry) => entry.state === 'added')) await this.close()
    } catch (error) {
      if (error instanceof ProblemError && !isOnlyNow(error)) this.stopped(error)
      else this.offline(error instanceof Error ? error.message : String(error))
    }
  }

  private async addSome(some: Entry[]): Promise<void> {
    const asked = new Set(some.filter((entry) => entry.adding))
    for (const entry of some) entry.adding = true
    this.save() // so that a page that is closed now knows which uploads may be gone
    try {
      await post(`/v1/batches/${this.batchId}/items`, { body: { inputs: some.map((entry) => ({ upload_id: uploadOf(entry) })) } })
      for (const entry of some) entry.state = 'added'
    } catch (error) {
      if (isRefusal(error)) for (const entry of some) entry.adding = asked.has(entry)
      const gone = goneOf(error, some)
      if (!gone) throw error
      if (gone.adding) gone.state = 'added'
      else Object.assign(gone, { state: 'waiting', url: null, sentBytes: 0 })
    }
    this.save()
    this.pump()
  }

  /** The batch takes no more: it was cancelled, closed or removed meanwhile. */
  private stopped(error: ProblemError): void {
    this.state = 'paused'
    this.trouble = error.message
    this.rest()
  }

  private async close(): Promise<void> {
    await post(`/v1/batches/${this.batchId}/close`, { body: {} }).catch((error: unknown) => {
      if (!(error instanceof ProblemError) || error.isOutage) throw error
    })
    this.drop()
  }

  /** Let go of it, on this page and in this browser. */
  drop(): void {
    this.state = 'done'
    clearTimeout(this.timer)
    clearTimeout(this.saveTimer)
    removeEventListener('pagehide', this.save)
    this.release()
    forget(this.batchId)
    this.onChange()
  }

  private saveSoon(): void {
    this.saveTimer ??= window.setTimeout(this.save, SAVE_MS)
  }

  private readonly save = (): void => {
    clearTimeout(this.saveTimer)
    this.saveTimer = undefined
    if (this.state === 'done' || !this.survives) return
    const files = this.entries.filter((entry) => entry.state !== 'added').map(({ path, bytes, modified, url, state, adding }) => {
      return { path, bytes, modified, url, sent: state === 'sent', adding }
    })
    this.survives = keep({ batchId: this.batchId, title: this.title, files, added: this.added })
  }

  private get added(): Added {
    const added = this.entries.filter((entry) => entry.state === 'added')
    return {
      files: this.earlier.files + added.length,
      bytes: added.reduce((sum, entry) => sum + entry.bytes, this.earlier.bytes),
    }
  }
}

export function entryOf({ path, file }: Picked): Entry {
  const { size, lastModified } = file
  return { path, bytes: size, modified: lastModified, file, state: 'waiting', url: null, sentBytes: 0, error: null, upload: null, adding: false }
}

export function entriesOf(kept: Kept): Entry[] {
  return kept.files.map(({ sent, ...file }) => {
    return { ...file, file: null, state: sent ? 'sent' : 'waiting', sentBytes: 0, error: null, upload: null }
  })
}

/** Whether what the server refuses now may be taken later. */
export const passes = (status: number): boolean => status >= 500 || PASSING.includes(status)

export const isOver = (entry: Entry): boolean => entry.state === 'sent' || entry.state === 'added'

const isRefusal = (error: unknown): boolean => error instanceof ProblemError && !error.isOutage
/** A batch that is closed says 409: that does not pass. */
const isOnlyNow = (error: ProblemError): boolean => error.isOutage || (passes(error.status) && error.status !== 409)
const uploadOf = (entry: Entry): string => entry.url?.split('/').pop() ?? ''

/** Find the entry whose upload the server does not know (any more). */
function goneOf(error: unknown, some: Entry[]): Entry | undefined {
  if (!(error instanceof ProblemError) || error.status !== 404) return undefined
  return some.find((entry) => uploadOf(entry) !== '' && error.message.includes(uploadOf(entry)))
}

const mark = (path: string, bytes: number, modified: number): string => `${bytes} ${modified} ${path}`
const base = (path: string): string => path.slice(path.lastIndexOf('/') + 1)

async function sentenceOf(status: number, body: string): Promise<string> {
  return (await problemOf(new Response(body, { status: Math.max(200, status) }))).message
}
