/** What this browser keeps of a sending, so that it goes on after the page was closed. */

export interface KeptFile {
  path: string
  bytes: number
  modified: number
  /** Of the upload; null before it was begun. */
  url: string | null
  /** Whether all of it is on the server. */
  sent: boolean
  /** Whether the batch has it. */
  added: boolean
}

export interface Kept {
  batchId: string
  title: string
  files: KeptFile[]
}

const PREFIX = 'batchmill.sending.'

/** False where the browser keeps nothing, or no more. */
export function keep(kept: Kept): boolean {
  try {
    localStorage.setItem(PREFIX + kept.batchId, JSON.stringify(kept))
    return true
  } catch {
    return false
  }
}

export function forget(batchId: string): void {
  try {
    localStorage.removeItem(PREFIX + batchId)
  } catch {
    // nothing was kept then
  }
}

/** Return sendings that were interrupted; one that another tab goes on with is not. */
export async function interrupted(): Promise<Kept[]> {
  const going = await heldNames()
  return all().filter((kept) => !going.has(PREFIX + kept.batchId))
}

/** Tell other tabs that this one sends, until it is closed or the returned function is called. */
export function claim(batchId: string): () => void {
  let release = (): void => undefined
  const held = new Promise<void>((done) => (release = done))
  void navigator.locks?.request(PREFIX + batchId, () => held)
  return release
}

function all(): Kept[] {
  try {
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX))
    return keys.flatMap((key) => read(localStorage.getItem(key)))
  } catch {
    return []
  }
}

function read(text: string | null): Kept[] {
  try {
    const kept = JSON.parse(text ?? '') as Kept
    return Array.isArray(kept.files) ? [kept] : []
  } catch {
    return []
  }
}

/** Locks are missing where the page comes without TLS from another machine. */
async function heldNames(): Promise<Set<string>> {
  const held = (await navigator.locks?.query())?.held ?? []
  return new Set(held.map((lock) => lock.name ?? ''))
}
