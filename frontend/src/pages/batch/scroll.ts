/**
 * Scrolling through more rows than a browser can lay out.
 *
 * Browsers stop at 17 to 33 million pixels, a million rows have 44 million. So the scroll bar
 * moves over a shorter canvas, and a place in it (`bar`) stands for a place in the list (`top`).
 * Small moves (wheel, keys) are moves of the list by as many pixels; only large ones (dragging the
 * bar) are taken in proportion.
 */

export const CANVAS_MAX_PX = 12_000_000

export interface Extent {
  rows: number
  rowPx: number
  viewportPx: number
}

export interface Place {
  /** First visible pixel of the list. */
  top: number
  /** Where the scroll bar stands, in pixels of the canvas. */
  bar: number
}

export const START: Place = { top: 0, bar: 0 }

export function canvasPx({ rows, rowPx }: Extent): number {
  return Math.min(rows * rowPx, CANVAS_MAX_PX)
}

/** The place after the scroll bar moved. Where its `bar` is not the given one, the bar has to be put there. */
export function moved(from: Place, bar: number, extent: Extent): Place {
  if (!isScaled(extent)) return { top: bar, bar }
  const step = bar - from.bar
  if (Math.abs(step) > extent.viewportPx) return { top: inProportion(bar, extent), bar }
  const top = clamp(from.top + step, 0, topMax(extent))
  const barMax = canvasPx(extent) - extent.viewportPx
  const stuck = (bar <= 0 && top > 0) || (bar >= barMax && top < topMax(extent))
  return stuck ? { top, bar: barOf(top, extent) } : { top, bar }
}

/** The same place with the bar where its proportion is: for when scrolling rests. */
export function rested(place: Place, extent: Extent): Place {
  return isScaled(extent) ? { top: place.top, bar: barOf(place.top, extent) } : place
}

/** The place nearest to `from` at which a row is seen whole. */
export function showing(row: number, from: Place, extent: Extent): Place {
  const above = row * extent.rowPx
  const below = above + extent.rowPx - extent.viewportPx
  const top = clamp(from.top > above ? above : Math.max(from.top, below), 0, topMax(extent))
  if (top === from.top) return from
  return { top, bar: isScaled(extent) ? barOf(top, extent) : top }
}

/** The rows to draw, `first` to `last` inclusive, with some beyond both edges; none: last < first. */
export function visible(place: Place, extent: Extent, beyond = 4): { first: number; last: number } {
  const first = Math.floor(place.top / extent.rowPx) - beyond
  const last = Math.ceil((place.top + extent.viewportPx) / extent.rowPx) + beyond
  return { first: Math.max(0, first), last: Math.min(extent.rows - 1, last) }
}

/** Where a row lies on the canvas, in pixels. */
export function rowTop(row: number, place: Place, { rowPx }: Extent): number {
  return place.bar + row * rowPx - place.top
}

function isScaled(extent: Extent): boolean {
  return extent.rows * extent.rowPx > CANVAS_MAX_PX
}

function topMax({ rows, rowPx, viewportPx }: Extent): number {
  return Math.max(0, rows * rowPx - viewportPx)
}

function inProportion(bar: number, extent: Extent): number {
  const share = bar / (canvasPx(extent) - extent.viewportPx)
  return clamp(Math.round(share * topMax(extent)), 0, topMax(extent))
}

/** At an edge of the list the bar is at its edge; else a window away from it, so that it can go on. */
function barOf(top: number, extent: Extent): number {
  const barMax = canvasPx(extent) - extent.viewportPx
  if (top <= 0) return 0
  if (top >= topMax(extent)) return barMax
  const bar = Math.round((top / topMax(extent)) * barMax)
  return clamp(bar, extent.viewportPx, barMax - extent.viewportPx)
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high)
}
