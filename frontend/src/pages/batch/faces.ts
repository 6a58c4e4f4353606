/** Faces in an item's data, which any operation may have written: taken only where they are whole. */

export interface Face {
  x: number
  y: number
  width: number
  height: number
}

const SIDES = ['x', 'y', 'width', 'height'] as const

/** In pixels of the upright picture. */
export function facesOf(data: Record<string, unknown> | null): Face[] {
  const found = data?.faces
  return Array.isArray(found) ? found.filter(isFace) : []
}

function isFace(value: unknown): value is Face {
  if (typeof value !== 'object' || value === null) return false
  return SIDES.every((side) => Number.isFinite((value as Record<string, unknown>)[side]))
}
