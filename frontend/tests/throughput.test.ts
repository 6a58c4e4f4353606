import { expect, test } from 'vitest'
import { perSecond, SECONDS, withSample, type Sample } from '../src/pages/batch/throughput'

const sum = (values: number[]) => values.reduce((a, b) => a + b, 0)

test('every file that ended is in some second', () => {
  const samples: Sample[] = [{ at: 0, ended: 10 }, { at: 2_500, ended: 20 }, { at: 10_000, ended: 50 }]
  const seconds = perSecond(samples, 10_000)
  expect(seconds.length).toBe(10)
  expect(sum(seconds)).toBeCloseTo(40)
  expect(seconds.at(-1)).toBeCloseTo(4)
})

test('the window is two minutes, however long one looks on', () => {
  let samples: Sample[] = []
  for (let second = 0; second <= 1_000; second += 1) samples = withSample(samples, { at: second * 1_000, ended: second * 3 })
  expect(samples.length).toBeLessThanOrEqual(SECONDS + 2)
  expect(perSecond(samples, 1_000_000)).toEqual(Array(SECONDS).fill(3))
})

test('a new run begins at nothing', () => {
  const samples = withSample([{ at: 0, ended: 9 }, { at: 1_000, ended: 10 }], { at: 2_000, ended: 4 })
  expect(samples).toEqual([{ at: 2_000, ended: 4 }])
  expect(perSecond([], 5_000)).toEqual([])
})
