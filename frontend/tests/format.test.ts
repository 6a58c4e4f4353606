import { describe, expect, test } from 'vitest'
import { ago, bytes, change, duration, milliseconds, percent, range, rate } from '../src/format'

describe('format', () => {
  test.each([
    [0, '0 B'], [999, '999 B'], [1_000, '1.00 kB'], [9_996, '10.0 kB'], [99_960, '100 kB'],
    [999_600, '1.00 MB'], [1_234_567, '1.23 MB'], [5e12, '5.00 TB'], [5e15, '5000 TB'], [-2_048, '−2.05 kB'],
  ])('%d bytes read %s', (value, text) => expect(bytes(value)).toBe(text))

  test.each([
    [0, '0 s'], [99.4, '99 s'], [100, '2 min'], [3_560, '59 min'], [3_580, '1 h'], [4_800, '1 h 20 min'],
    [86_390, '1 d'], [187_200, '2 d 4 h'], [-3, '0 s'],
  ])('%d seconds read %s', (value, text) => expect(duration(value)).toBe(text))

  test('a range names its unit once where both ends share it', () => {
    expect(range(180, 300)).toBe('3–5 min')
    expect(range(50, 180)).toBe('50 s – 3 min')
    expect(range(181, 185)).toBe('3 min')
    expect(range(4_800, 9_000)).toBe('1 h 20 min – 2 h 30 min')
  })

  test('the end alone reads as 100 %', () => {
    expect(percent(99.99)).toBe('99.9 %')
    expect(percent(100)).toBe('100 %')
  })

  test.each([[120, '120/s'], [1.23, '1.2/s'], [0.5, '30/min'], [1_234.5, '1,235/s']])(
    '%d items a second read %s', (value, text) => expect(rate(value)).toBe(text))

  test.each([[100, 36, '−64 %'], [100, 130, '+30 %'], [100, 100, '±0 %'], [0, 5, null]])(
    '%d to %d is %s', (before, after, text) => expect(change(before, after)).toBe(text))

  test('times', () => {
    expect(milliseconds(4.4)).toBe('4 ms')
    expect(milliseconds(1_240)).toBe('1.2 s')
    expect(ago('2026-01-01T00:00:00Z', Date.parse('2026-01-01T00:03:00Z'))).toBe('3 min ago')
  })
})
