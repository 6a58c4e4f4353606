/** What our modules take from a browser, given to tests that run without one. */

/** Keeps so many characters and then refuses, as browsers do. */
class Shelf {
  private readonly kept: Record<string, string> = {}
  constructor(private readonly most: number) {}

  getItem = (key: string): string | null => this.kept[key] ?? null
  removeItem = (key: string): boolean => delete this.kept[key]
  setItem = (key: string, text: string): void => {
    if (text.length > this.most) throw new DOMException('full', 'QuotaExceededError')
    this.kept[key] = text
  }
  keys = (): string[] => Object.keys(this.kept)
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
    location: new URL(origin),
    localStorage,
    addEventListener: events.addEventListener.bind(events),
    removeEventListener: events.removeEventListener.bind(events),
    dispatchEvent: events.dispatchEvent.bind(events),
    fetch: ((path: string, init?: RequestInit) => straight(new URL(path, origin), init)) as typeof fetch,
  })
  return shelf
}

const straight = globalThis.fetch
