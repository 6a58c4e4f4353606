/** What this browser keeps of a sending, so that it goes on after the page was closed. */
import { claimed } from './claims'

export interface KeptFile {
  path: string
  bytes: number
  modified: number
  /** Of the upload; null before it was begun. */
  url: string | null
  /** Whether all of it is on the server. */
  sent: boolean
  /** Whether the batch was asked to take it, and no answer was written down: it may have it. */
  adding: boolean
}

/** Files that the batch has: of them nothing else need be known. */
export interface Added {
  files: number
  bytes: number
}

export interface Kept {
  batchId: string
  title: string
  /** Those that the batch does not have yet. */
  files: KeptFile[]
  added: Added
}

const PREFIX = 'batchmill.sending.'

/** False where the browser keeps nothing, or no more: then nothing older is kept either, for it would no longer be true. */
export function keep(kept: Kept): boolean {
  try {
    localStorage.setItem(PREFIX + kept.batchId, JSON.stringify(kept))
    return true
  } catch {
    forget(kept.batchId)
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
  const going = await claimed()
  return all().filter((kept) => !going.has(kept.batchId))
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
