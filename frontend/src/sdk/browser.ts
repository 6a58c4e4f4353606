/** Pictures through a canvas: what a browser can do of a pipeline while the server is away. */
import type { Item, Order, Output, Step } from '../../public/batchmill'
import { place, type Box, type Size } from './place'

export interface Recipe {
  box: Box | null
  background: string
  /** Null: the source's own. */
  format: keyof typeof TYPES | null
  /** 1 to 100. */
  quality: number
  warnings: string[]
}

const TYPES = { jpeg: 'image/jpeg', png: 'image/png', webp: 'image/webp' } as const
const EXTENSIONS: Record<string, string> = { 'image/jpeg': 'jpg', 'image/png': 'png', 'image/webp': 'webp' }
const DEFAULT_PX = 1_024

/** The presets of the server that a canvas can follow. */
export const PRESETS: Record<string, Step[]> = {
  web: [
    { use: 'resize', with: { width: 1024, height: 1024, fit: 'inside' } },
    { use: 'convert', with: { format: 'webp', quality: 80 } },
  ],
  fast: [
    { use: 'resize', with: { width: 1024, height: 1024, fit: 'inside' } },
    { use: 'convert', with: { format: 'webp', quality: 81, effort: 2 } },
  ],
  thumbnail: [
    { use: 'resize', with: { width: 256, height: 256, fit: 'cover', position: 'attention' } },
    { use: 'convert', with: { format: 'webp', quality: 75, animated: false } },
  ],
  compress: [{ use: 'compress' }],
}

/** Options that change nothing in a canvas, which writes as it can, strips metadata and takes one frame. */
const INDIFFERENT = ['effort', 'progressive', 'chroma', 'never_larger', 'animated', 'kernel']
const WRITE = ['format', 'quality', 'background', ...INDIFFERENT]
const OPTIONS: Record<string, string[]> = {
  resize: ['width', 'height', 'fit', 'position', 'enlarge', 'background', ...INDIFFERENT],
  convert: WRITE,
  compress: WRITE,
}

/** Names come from others: `constructor` is nothing of ours. */
const own = <T>(known: Readonly<Record<string, T>>, name: string): T | undefined => (Object.hasOwn(known, name) ? known[name] : undefined)

/** Read a pipeline; a sentence that says what a browser cannot do of it. */
export function recipeOf(pipeline: Order['pipeline']): Recipe | string {
  const steps = typeof pipeline === 'string' ? own(PRESETS, pipeline) : pipeline.steps
  if (!steps) return `A browser cannot do \`${pipeline}\` by itself.`
  const recipe: Recipe = { box: null, background: '#ffffff', format: null, quality: 80, warnings: [] }
  for (const step of steps) {
    const refused = add(recipe, step)
    if (refused) return refused
  }
  return recipe
}

function add(recipe: Recipe, { use, with: options = {} }: Step): string | null {
  const known = own(OPTIONS, use)
  if (!known) return `A browser cannot do \`${use}\` by itself.`
  const unknown = Object.keys(options).find((name) => !known.includes(name))
  if (unknown) return `A browser cannot follow the option \`${unknown}\` of \`${use}\`.`
  if (typeof options.background === 'string') recipe.background = options.background
  if (use === 'resize') addBox(recipe, options)
  else {
    const format = (options.format ?? null) as string | null
    if (format && !own(TYPES, format)) return `A browser cannot write ${format}.`
    recipe.format = format as Recipe['format']
    recipe.quality = typeof options.quality === 'number' ? options.quality : 80
  }
  return null
}

function addBox(recipe: Recipe, options: Record<string, unknown>): void {
  const side = (name: string) => (typeof options[name] === 'number' ? (options[name] as number) : null)
  const free = side('width') === null && side('height') === null
  let position = (options.position ?? 'centre') as string
  if (position === 'attention' || position === 'entropy') {
    recipe.warnings.push('Cut around the centre: finding the interesting part needs the server.')
    position = 'centre'
  }
  recipe.box = {
    width: free ? DEFAULT_PX : side('width'),
    height: free ? DEFAULT_PX : side('height'),
    fit: (options.fit ?? 'inside') as Box['fit'],
    enlarge: options.enlarge === true,
    position,
  }
}

/** Do the work, one picture after another so that memory stays small. */
export async function inBrowser(files: File[], recipe: Recipe, order: Order): Promise<Item[]> {
  const items: Item[] = []
  for (const file of files) {
    order.signal?.throwIfAborted()
    items.push(await one(file, recipe))
    const ended = items.length
    order.onProgress?.({ via: 'browser', phase: 'processing', percent: (ended / files.length) * 100, ended, total: files.length })
  }
  return items
}

async function one(file: File, recipe: Recipe): Promise<Item> {
  const name = file.webkitRelativePath || file.name
  const warnings = [...recipe.warnings]
  try {
    return { name, status: 'completed', error: null, warnings, outputs: [await made(file, name, recipe)] }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return { name, status: 'failed', error: { code: 'browser_cannot', message }, warnings: [], outputs: [] }
  }
}

async function made(file: File, name: string, recipe: Recipe): Promise<Output> {
  // Turned upright as its EXIF says, which is what every browser does here by default.
  const picture = await createImageBitmap(file).catch(() => {
    throw new Error(`${name} is no picture that this browser can open.`)
  })
  try {
    const size = { width: picture.width, height: picture.height }
    const type = recipe.format ? TYPES[recipe.format] : own(EXTENSIONS, file.type) ? file.type : TYPES.jpeg
    const drawn = draw(picture, recipe, type)
    const blob = await written(drawn, type, recipe.quality)
    const untouched = drawn.width === size.width && drawn.height === size.height && type === file.type
    return output(name, untouched && blob.size >= file.size ? file : blob, drawn)
  } finally {
    picture.close()
  }
}

function draw(picture: ImageBitmap, recipe: Recipe, type: string): HTMLCanvasElement {
  const placed = place(picture, recipe.box)
  const canvas = document.createElement('canvas')
  canvas.width = placed.final.width
  canvas.height = placed.final.height
  const context = canvas.getContext('2d')
  if (!context) throw new Error('This browser has no memory left for the picture.')
  if (type === TYPES.jpeg || recipe.box?.fit === 'contain') {
    context.fillStyle = recipe.background
    context.fillRect(0, 0, canvas.width, canvas.height)
  }
  context.imageSmoothingQuality = 'high'
  context.drawImage(picture, placed.left, placed.top, placed.scaled.width, placed.scaled.height)
  return canvas
}

async function written(canvas: HTMLCanvasElement, type: string, quality: number): Promise<Blob> {
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, type, quality / 100))
  // A browser that does not know a format writes PNG instead, without a word.
  if (blob?.type !== type) throw new Error(`This browser cannot write ${type.slice('image/'.length)}.`)
  return blob
}

function output(name: string, blob: Blob, { width, height }: Size): Output {
  const stem = name.replace(/\.[^./]+$/, '')
  const { type, size: bytes } = blob
  return { name: `${stem}.${EXTENSIONS[type]}`, type, bytes, width, height, blob: async () => blob }
}
