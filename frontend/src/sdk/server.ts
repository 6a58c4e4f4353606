/** The way over the server: look, send, listen, collect. */
import type { Done, Item, Order, Output, Progress } from '../../public/batchmill'
import { BatchmillError } from './errors'
import { events } from './events'

interface Batch {
  id: string
  ended_at: string | null
  progress: { percent: number | null }
  counts: Record<'total' | 'completed' | 'failed' | 'skipped' | 'cancelled' | 'quarantined', number>
}

interface FoundItem extends Omit<Item, 'name' | 'outputs'> {
  input: { path: string }
  id: string
  outputs: Omit<Output, 'blob'>[]
}

interface Limits {
  server: string
  detectMs: number
  pollMs: number
  waitMs: number
}

/** What every caller may send in one request. */
const FILES_AT_ONCE = 50

export class Server {
  constructor(
    private readonly limits: Limits,
    private readonly apiKey: string | null,
  ) {}

  /** Whether it answers in time; a server that refuses this page does not. */
  async answers(): Promise<boolean> {
    try {
      const response = await fetch(`${this.limits.server}/healthz`, { signal: AbortSignal.timeout(this.limits.detectMs) })
      return response.ok
    } catch {
      return false
    }
  }

  async process(files: File[], order: Order): Promise<Done> {
    const sent = { batchId: '', whole: false }
    try {
      await this.send(files, order, sent)
      await this.ended(sent.batchId, files.length, order)
    } catch (error) {
      // What is not waited for, or was sent by half, is not to be worked on.
      if (sent.batchId && (order.signal?.aborted || !sent.whole)) {
        void this.json('POST', `/v1/batches/${sent.batchId}/cancel`).catch(() => undefined)
      }
      throw error
    }
    const { batchId } = sent
    const items = await this.items(batchId).catch((error: unknown) => {
      throw error instanceof BatchmillError && error.isOutage ? uncollected(batchId, error) : error
    })
    return { via: 'server', reason: null, batchId, items }
  }

  /** Send files in requests of as many as everybody may; tells `sent` how far it came. */
  private async send(files: File[], order: Order, sent: { batchId: string; whole: boolean }): Promise<void> {
    const all = files.reduce((sum, file) => sum + file.size, 0)
    const { pipeline } = order
    let before = 0
    for (let first = 0; first < files.length; first += FILES_AT_ONCE) {
      order.signal?.throwIfAborted()
      const some = files.slice(first, first + FILES_AT_ONCE)
      const form = new FormData()
      if (!sent.batchId) {
        form.append('pipeline', typeof pipeline === 'string' ? pipeline : JSON.stringify(pipeline))
        form.append('options', JSON.stringify({ keep_open: files.length > FILES_AT_ONCE }))
      }
      for (const file of some) form.append('files', file, file.webkitRelativePath || file.name)
      const tell = (bytes: number) => this.tell(order, 'sending', ((before + bytes) / all) * 100, 0, files.length)
      const path = sent.batchId ? `/v1/batches/${sent.batchId}/items` : '/v1/batches'
      const made = await this.upload(path, form, tell, order.signal)
      sent.batchId ||= made.id
      before += some.reduce((sum, file) => sum + file.size, 0)
    }
    if (files.length > FILES_AT_ONCE) await this.json('POST', `/v1/batches/${sent.batchId}/close`)
    sent.whole = true
  }

  /** Of what browsers have, only XMLHttpRequest says how much of a body has been sent. */
  private upload(path: string, form: FormData, tell: (sent: number) => void, signal?: AbortSignal): Promise<Batch> {
    return new Promise((done, failed) => {
      const request = new XMLHttpRequest()
      request.open('POST', this.limits.server + path)
      for (const [name, value] of Object.entries(this.headers())) request.setRequestHeader(name, value)
      request.responseType = 'json'
      request.upload.onprogress = (event) => tell(event.loaded)
      request.onload = () =>
        request.status < 300 ? done(request.response) : failed(problem(request.status, request.response))
      request.onerror = () => failed(new BatchmillError('The server stopped answering.', 'server_unreachable'))
      request.onabort = () => failed(signal?.reason)
      signal?.addEventListener('abort', () => request.abort(), { once: true })
      request.send(form)
    })
  }

  /** Wait for the batch's end: by events, and by asking where they do not get through. */
  private async ended(batchId: string, total: number, order: Order): Promise<void> {
    const until = AbortSignal.timeout(this.limits.waitMs)
    const signal = order.signal ? AbortSignal.any([until, order.signal]) : until
    const look = (batch: Batch): boolean => {
      const { completed, failed, skipped, cancelled, quarantined } = batch.counts
      const over = completed + failed + skipped + cancelled + quarantined
      this.tell(order, 'processing', batch.progress.percent ?? 0, over, batch.counts.total || total)
      return batch.ended_at !== null
    }
    try {
      const heard = await this.listen(batchId, look, signal)
      while (!heard && !look(await this.asked(batchId, signal))) await pause(this.limits.pollMs, signal)
    } catch (error) {
      if (until.aborted && !order.signal?.aborted) throw late(batchId, this.limits.waitMs)
      throw error
    }
  }

  /** Hear of the batch until it has ended; false: the stream broke or never came. */
  private async listen(batchId: string, look: (batch: Batch) => boolean, signal: AbortSignal): Promise<boolean> {
    try {
      const url = `${this.limits.server}/v1/batches/${batchId}/events`
      for await (const { event, data } of events(url, { headers: this.headers(), signal })) {
        if (event.startsWith('batch.') && look(JSON.parse(data) as Batch)) return true
      }
    } catch {
      signal.throwIfAborted()
    }
    return false
  }

  /** Ask once; what passes over is worth asking again. */
  private async asked(batchId: string, signal: AbortSignal): Promise<Batch> {
    for (;;) {
      try {
        return await this.json<Batch>('GET', `/v1/batches/${batchId}`, signal)
      } catch (error) {
        if (!(error instanceof BatchmillError && error.isOutage)) throw error
        await pause(this.limits.pollMs, signal)
      }
    }
  }

  private async items(batchId: string): Promise<Item[]> {
    const found: FoundItem[] = []
    let query = '?limit=1000'
    for (;;) {
      const page = await this.json<{ data: FoundItem[]; next_cursor: string | null }>('GET', `/v1/batches/${batchId}/items${query}`)
      found.push(...page.data)
      if (!page.next_cursor) break
      query = `?limit=1000&cursor=${encodeURIComponent(page.next_cursor)}`
    }
    return found.map(({ id, input, outputs, status, error, warnings }) => {
      return { name: input.path, status, error, warnings, outputs: outputs.map((each) => this.output(id, each)) }
    })
  }

  private output(itemId: string, { name, type, bytes, width, height }: FoundItem['outputs'][number]): Output {
    const path = `/v1/items/${itemId}/outputs/${name.split('/').map(encodeURIComponent).join('/')}`
    return { name, type, bytes, width, height, blob: async () => (await this.call('GET', path)).blob() }
  }

  private async json<T>(method: string, path: string, signal?: AbortSignal): Promise<T> {
    return (await (await this.call(method, path, signal)).json()) as T
  }

  private async call(method: string, path: string, signal?: AbortSignal): Promise<Response> {
    const response = await fetch(this.limits.server + path, { method, headers: this.headers(), signal: signal ?? null }).catch(() => {
      signal?.throwIfAborted()
      throw new BatchmillError('The server stopped answering.', 'server_unreachable')
    })
    if (response.ok) return response
    throw problem(response.status, await response.json().catch(() => null))
  }

  private headers(): Record<string, string> {
    return this.apiKey ? { Authorization: `Bearer ${this.apiKey}` } : {}
  }

  private tell(order: Order, phase: Progress['phase'], percent: number, ended: number, total: number): void {
    order.onProgress?.({ via: 'server', phase, percent: Math.min(100, percent), ended, total })
  }
}

function problem(status: number, body: { detail?: string; code?: string } | null): BatchmillError {
  return new BatchmillError(body?.detail ?? `The server answered ${status}.`, body?.code ?? 'unknown', status)
}

function late(batchId: string, waitMs: number): BatchmillError {
  return new BatchmillError(`Batch ${batchId} has not ended within ${waitMs / 1_000} s; it goes on there.`, 'timeout', 504)
}

function uncollected(batchId: string, { message, code, status }: BatchmillError): BatchmillError {
  return new BatchmillError(`${message} Batch ${batchId} has ended; its results are there.`, code, status)
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((done, failed) => {
    signal.throwIfAborted()
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', () => (clearTimeout(timer), failed(signal.reason)), { once: true })
  })
}
