import { describe, expect, test } from 'vitest'
import {
  CANVAS_MAX_PX, canvasPx, moved, rested, rowTop, showing, START, visible, type Extent, type Place,
} from '../src/pages/batch/scroll'

const extent = (rows: number): Extent => ({ rows, rowPx: 44, viewportPx: 600 })
const ROUNDING = 1e-6
const bottom = (of: Extent) => of.rows * of.rowPx - of.viewportPx
const barMax = (of: Extent) => canvasPx(of) - of.viewportPx

/** A generator of numbers in [0, 1), the same each time. */
function chance(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32
    return state / 2 ** 32
  }
}

describe.each([20, 1_000, 272_727, 300_000, 1_000_000, 9_000_000])('scrolling %d rows', (rows) => {
  const of = extent(rows)

  test('the canvas is one that browsers can lay out', () => {
    expect(canvasPx(of)).toBeLessThanOrEqual(CANVAS_MAX_PX)
  })

  test('small moves are moves by as many pixels, wherever one is', () => {
    let place = moved(START, Math.floor(barMax(of) / 2), of)
    for (let step = 0; step < 200; step += 1) {
      const before = place.top
      place = moved(place, Math.min(place.bar + 100, barMax(of)), of)
      expect(place.top).toBe(Math.min(before + 100, bottom(of)))
    }
  })

  test('the bar at its ends shows the first and the last row', () => {
    const end = moved(START, barMax(of), of)
    expect(visible(end, of).last).toBe(rows - 1)
    expect(end.top).toBe(bottom(of))
    expect(moved(end, 0, of).top).toBe(0)
  })

  test('both ends are reached by small moves alone', () => {
    let place = showing(Math.min(rows - 1, 500), START, of)
    for (let step = 0; step < 400; step += 1) place = moved(place, Math.max(0, place.bar - 100), of)
    expect(rested(place, of)).toEqual(START)
    place = showing(Math.max(0, rows - 500), START, of)
    for (let step = 0; step < 400; step += 1) place = moved(place, Math.min(barMax(of), place.bar + 100), of)
    expect(place.top).toBe(bottom(of))
  })

  test('nothing that anybody does leaves the list, and what is shown lies in the window', () => {
    const next = chance(rows)
    let place: Place = START
    for (let step = 0; step < 1_000; step += 1) {
      const what = next()
      if (what < 0.5) place = moved(place, Math.min(Math.max(0, place.bar + (next() - 0.5) * 900), barMax(of)), of)
      else if (what < 0.7) place = moved(place, next() * barMax(of), of)
      else if (what < 0.85) place = showing(Math.floor(next() * rows), place, of)
      else place = rested(place, of)
      expect(place.top).toBeGreaterThanOrEqual(0)
      expect(place.top).toBeLessThanOrEqual(bottom(of))
      expect(place.bar).toBeGreaterThanOrEqual(0)
      expect(place.bar).toBeLessThanOrEqual(barMax(of))
      const { first, last } = visible(place, of, 0)
      expect(rowTop(first, place, of)).toBeLessThanOrEqual(place.bar + ROUNDING)
      expect(rowTop(last, place, of)).toBeGreaterThanOrEqual(place.bar + of.viewportPx - of.rowPx - ROUNDING)
    }
  })

  test('a row that is asked for is seen whole', () => {
    const next = chance(rows + 1)
    let place: Place = START
    for (let step = 0; step < 200; step += 1) {
      const row = Math.floor(next() * rows)
      place = showing(row, place, of)
      expect(row * 44).toBeGreaterThanOrEqual(place.top)
      expect((row + 1) * 44).toBeLessThanOrEqual(place.top + of.viewportPx)
    }
  })
})

test('a list shorter than its window draws what there is', () => {
  expect(visible(START, extent(3))).toEqual({ first: 0, last: 2 })
  expect(visible(START, extent(0)).last).toBe(-1)
})
