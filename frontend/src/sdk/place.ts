/** The arithmetic of fitting a picture into a box, as `operations/box.py` does it on the server. */

export interface Size {
  width: number
  height: number
}

export interface Box {
  /** A side that is null is free. */
  width: number | null
  height: number | null
  fit: 'inside' | 'cover' | 'contain' | 'fill' | 'outside'
  enlarge: boolean
  /** Which part `cover` keeps and where `contain` puts the picture: words of edges, or `centre`. */
  position: string
}

export interface Placed {
  scaled: Size
  final: Size
  left: number
  top: number
}

export function place(size: Size, box: Box | null): Placed {
  if (!box) return { scaled: size, final: size, left: 0, top: 0 }
  const scaled = scaledTo(size, box)
  const final = finalOf(scaled, box)
  return {
    scaled,
    final,
    left: shift(final.width - scaled.width, box.position, 'left', 'right'),
    top: shift(final.height - scaled.height, box.position, 'top', 'bottom'),
  }
}

function scaledTo(size: Size, box: Box): Size {
  const ratios = [box.width && box.width / size.width, box.height && box.height / size.height]
  let across = ratios[0] ?? ratios[1] ?? 1
  let down = ratios[1] ?? ratios[0] ?? 1
  if (box.fit !== 'fill') {
    const scale = box.fit === 'cover' || box.fit === 'outside' ? Math.max(across, down) : Math.min(across, down)
    across = down = scale
  }
  if (!box.enlarge) [across, down] = [Math.min(across, 1), Math.min(down, 1)]
  return { width: px(size.width * across), height: px(size.height * down) }
}

function finalOf(scaled: Size, box: Box): Size {
  const width = box.width ?? scaled.width
  const height = box.height ?? scaled.height
  switch (box.fit) {
    case 'cover':
      return { width: Math.min(scaled.width, width), height: Math.min(scaled.height, height) }
    case 'contain':
      return { width: Math.max(scaled.width, width), height: Math.max(scaled.height, height) }
    default:
      return scaled
  }
}

const px = (length: number): number => Math.max(1, Math.floor(length + 0.5))

function shift(room: number, position: string, start: string, end: string): number {
  if (position.includes(start)) return 0
  return position.includes(end) ? room : Math.round(room / 2)
}
