/** What our modules take from a browser, given to tests that run without one. */

/** Keeps so many characters and then refuses, as browsers do. */
class Shelf {
  private readonly kept: Record<string, string> = {}
  constructor(public most: number) {}

  getItem = (key: string): string | null => this.kept[key] ?? null
  removeItem = (key: string): boolean => delete this.kept[key]
  setItem = (key: string, text: string): void => {
    if (text.length > this.most) throw new DOMException('full', 'QuotaExceededError')
    this.kept[key] = text
  }
  keys = (): string[] => Object.keys(this.kept)
}

/** As much of an EventSource as opens a stream and closes it. */
class Stream extends EventTarget {
  static readonly CLOSED = 2
  readyState = 0
  onopen: (() => void) | null = null
  onerror: (() => void) | null = null
  private readonly aborting = new AbortController()

  constructor(path: string) {
    super()
    void this.read(path).catch(() => undefined).then(() => {
      this.readyState = Stream.CLOSED
      if (!this.aborting.signal.aborted) this.onerror?.()
    })
  }

  close = (): void => this.aborting.abort()

  private async read(path: string): Promise<void> {
    const response = await fetch(path, { signal: this.aborting.signal })
    if (!response.ok) return
    this.onopen?.()
    const reader = response.body?.getReader()
    while (reader && !(await reader.read()).done) this.readyState = 1
  }
}

/** Be a page of this server, in a browser that keeps texts of so many characters. */
export function bePageOf(origin: string, { keepsCharacters = 5_000_000 } = {}): Shelf {
  const shelf = new Shelf(keepsCharacters)
  // The names of what is kept are the keys of `localStorage` itself.
  const localStorage = new Proxy(shelf, {
    ownKeys: (of) => of.keys(),
    getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true }),
  })
  const events = new EventTarget()
  Object.assign(globalThis, {
    window: globalThis,
    document: Object.assign(new EventTarget(), { hidden: false }),
    EventSource: Stream,
    location: new URL(origin),
    localStorage,
    addEventListener: events.addEventListener.bind(events),
    removeEventListener: events.removeEventListener.bind(events),
    dispatchEvent: events.dispatchEvent.bind(events),
    fetch: ((path: string, init?: RequestInit) => straight(new URL(path, origin), init)) as typeof fetch,
  })
  return shelf
}

/** Show the page's tab, or hide it behind another. */
export function see(seen: boolean): void {
  Object.assign(document, { hidden: !seen })
  document.dispatchEvent(new Event('visibilitychange'))
}

const straight = globalThis.fetch
