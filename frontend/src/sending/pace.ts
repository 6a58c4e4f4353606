/** How fast bytes go: over the last seconds, so that a pause is soon forgotten. */

const WINDOW_MS = 5_000

export class Pace {
  private notes: { at: number; bytes: number }[] = []

  note(bytes: number, at: number = performance.now()): void {
    this.notes.push({ at, bytes })
    if (this.notes.length > 200) this.drop(at)
  }

  /** Null before there is enough to tell. */
  bytesPerSecond(now: number = performance.now()): number | null {
    this.drop(now)
    const first = this.notes[0]
    if (!first || now - first.at < 500) return null
    const bytes = this.notes.reduce((sum, note) => sum + note.bytes, 0)
    return bytes / ((now - first.at) / 1_000)
  }

  private drop(now: number): void {
    this.notes = this.notes.filter((note) => now - note.at <= WINDOW_MS)
  }
}
