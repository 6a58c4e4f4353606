/** Numbers as people read them. */

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'] as const
const MINUTE_S = 60
const HOUR_S = 3_600
const DAY_S = 86_400

/** 1,234,567 */
export function count(value: number): string {
  return value.toLocaleString('en')
}

/** Decimal units, three digits: 999 B, 1.23 MB. */
export function bytes(value: number): string {
  let size = Math.abs(value)
  let unit = 0
  while (size >= 999.5 && unit < UNITS.length - 1) {
    size /= 1_000
    unit += 1
  }
  const digits = unit === 0 || size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2
  return `${value < 0 ? '−' : ''}${size.toFixed(digits)} ${UNITS[unit]}`
}

/** Never "100 %" before the end, never a digit that jumps. */
export function percent(value: number): string {
  return value >= 100 ? '100 %' : `${Math.floor(value * 10) / 10} %`
}

/** 45 s, 3 min, 1 h 20 min, 2 d 4 h. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds))
  if (whole < 100) return `${whole} s`
  if (whole < HOUR_S - MINUTE_S / 2) return `${Math.round(whole / MINUTE_S)} min`
  if (whole < DAY_S - MINUTE_S / 2) return two(whole, HOUR_S, 'h', MINUTE_S, 'min')
  return two(whole, DAY_S, 'd', HOUR_S, 'h')
}

/** 4 ms, 1.2 s, 3 min. */
export function milliseconds(value: number): string {
  if (value < 1_000) return `${Math.round(value)} ms`
  return value < 10_000 ? `${(value / 1_000).toFixed(1)} s` : duration(value / 1_000)
}

/** "3–5 min", or one value where both ends read the same. */
export function range(lowSeconds: number, highSeconds: number): string {
  const low = duration(lowSeconds)
  const high = duration(highSeconds)
  if (low === high) return low
  const [lowNumber, lowUnit] = low.split(' ')
  const [, highUnit] = high.split(' ')
  const short = low.split(' ').length === 2 && high.split(' ').length === 2 && lowUnit === highUnit
  return short ? `${lowNumber}–${high}` : `${low} – ${high}`
}

/** Items a second, as three digits at most; slow work by the minute. */
export function rate(itemsPerSecond: number): string {
  if (itemsPerSecond >= 1) return `${trim(itemsPerSecond)}/s`
  return `${trim(itemsPerSecond * MINUTE_S)}/min`
}

/** How much smaller or larger `after` is, in percent: "−64 %". Null: nothing to compare. */
export function change(before: number, after: number): string | null {
  if (before <= 0) return null
  const pct = Math.round((after / before - 1) * 100)
  return pct === 0 ? '±0 %' : `${pct < 0 ? '−' : '+'}${Math.abs(pct)} %`
}

/** Day and time where the reader is. */
export function instant(iso: string): string {
  return new Date(iso).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' })
}

/** "3 min ago". */
export function ago(iso: string, now: number = Date.now()): string {
  const seconds = (now - Date.parse(iso)) / 1_000
  return seconds < 5 ? 'just now' : `${duration(seconds)} ago`
}

function two(value: number, large: number, largeUnit: string, small: number, smallUnit: string): string {
  const rounded = Math.round(value / small) * small
  const rest = Math.round((rounded % large) / small)
  const head = `${Math.floor(rounded / large)} ${largeUnit}`
  return rest ? `${head} ${rest} ${smallUnit}` : head
}

function trim(value: number): string {
  return value >= 100 ? count(Math.round(value)) : String(Number(value.toPrecision(2)))
}
