/** `batchmill.js`: the public class; `public/batchmill.d.ts` describes it for those who use it. */
import type { Done, Order, Progress, Settings } from '../../public/batchmill'
import { inBrowser, recipeOf } from './browser'
import { BatchmillError } from './errors'
import { Server } from './server'

export { BatchmillError }

const DEFAULTS = { fallback: 'browser', detectMs: 3_000, pollMs: 500, waitMs: 180_000 } as const

export class Batchmill {
  private readonly settings: Required<Omit<Settings, 'apiKey'>>
  private readonly server: Server

  constructor(settings: Settings = {}) {
    const server = settings.server ?? new URL(import.meta.url).origin
    this.settings = { ...DEFAULTS, ...settings, server: server.replace(/\/$/, '') }
    this.server = new Server(this.settings, settings.apiKey ?? null)
  }

  isAvailable(): Promise<boolean> {
    return this.server.answers()
  }

  async process(files: Iterable<File>, asked: Order): Promise<Done> {
    const sent = [...files]
    const order = { ...asked, onProgress: forward(asked.onProgress) }
    if (sent.length === 0) throw new BatchmillError('There are no files.', 'empty_batch')
    try {
      if (!(await this.isAvailable())) throw new BatchmillError('The server does not answer.', 'server_unreachable')
      return await this.server.process(sent, order)
    } catch (error) {
      order.signal?.throwIfAborted()
      if (!(error instanceof BatchmillError && error.isOutage)) throw error
      return this.here(sent, order, error)
    }
  }

  private async here(files: File[], order: Order, outage: BatchmillError): Promise<Done> {
    if (this.settings.fallback === 'none') throw outage
    const recipe = recipeOf(order.pipeline)
    if (typeof recipe === 'string') throw new BatchmillError(`${outage.message} ${recipe}`, outage.code, outage.status)
    return { via: 'browser', reason: outage.message, batchId: null, items: await inBrowser(files, recipe, order) }
  }
}

/** Numbers of a phase never go back, whatever is measured how. */
function forward(tell: Order['onProgress'] = () => undefined): (progress: Progress) => void {
  let last: Progress | null = null
  return (progress) => {
    const same = last?.phase === progress.phase && last.via === progress.via ? last : null
    last = { ...progress, percent: Math.max(progress.percent, same?.percent ?? 0), ended: Math.max(progress.ended, same?.ended ?? 0) }
    tell(last)
  }
}
