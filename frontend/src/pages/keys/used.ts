/** When a key was used last, as exactly as the server knows it: it notes that once an hour. */
import { ago } from '../../format'
import { texts } from '../../texts'

const NOTED_MS = 3_600_000

export function usedText(at: string, now: number = Date.now()): string {
  return now - Date.parse(at) < NOTED_MS ? texts.keys.usedLately : ago(at, now)
}
