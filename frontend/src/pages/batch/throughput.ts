/** How fast items end, second by second, from what the page has seen of the batch. */
import type { Counts } from '../../api/types'

export const SECONDS = 120

export interface Sample {
  /** Milliseconds. */
  at: number
  /** Items that had ended by then. */
  ended: number
}

export function endedOf(counts: Counts): number {
  return counts.completed + counts.failed + counts.skipped + counts.cancelled + counts.quarantined
}

/** Add a sample, and drop those that lie before the window. */
export function withSample(samples: readonly Sample[], sample: Sample): Sample[] {
  const last = samples.at(-1)
  if (last && sample.ended < last.ended) return [sample] // a new run began
  const since = sample.at - SECONDS * 1_000
  const before = samples.findLast((each) => each.at <= since)
  return [...samples.filter((each) => each.at > since || each === before), sample]
}

/** Items that ended in each second since the first sample, at most `SECONDS`, oldest first. */
export function perSecond(samples: readonly Sample[], now: number): number[] {
  const seen = Math.floor((now - (samples[0]?.at ?? now)) / 1_000)
  const seconds = Math.min(SECONDS, seen)
  const ended = Array.from({ length: seconds + 1 }, (_, second) => endedAt(samples, now - (seconds - second) * 1_000))
  return ended.slice(1).map((value, second) => Math.max(0, value - (ended[second] ?? 0)))
}

/** Between two samples items are taken to have ended evenly. */
function endedAt(samples: readonly Sample[], at: number): number {
  const after = samples.findIndex((sample) => sample.at >= at)
  const next = samples[after]
  const previous = samples[after - 1]
  if (!next) return samples.at(-1)?.ended ?? 0
  if (!previous) return next.ended
  const share = (at - previous.at) / Math.max(1, next.at - previous.at)
  return previous.ended + (next.ended - previous.ended) * share
}
