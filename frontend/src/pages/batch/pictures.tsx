/** A file's picture before and after: over each other where they have one shape, else side by side. */
import { useEffect, useState } from 'preact/hooks'
import { outputAddress } from '../../api/client'
import type { Item } from '../../api/types'
import { bytes } from '../../format'
import { texts } from '../../texts'
import { facesOf, type Face } from './faces'

/** Shapes that differ by less are one: sizes are rounded to whole pixels. */
const SAME_SHAPE = 0.02

interface Size {
  width: number
  height: number
}

export function Pictures({ item }: { item: Item }) {
  const output = item.outputs.find((each) => each.type.startsWith('image/'))
  const before = `/v1/items/${item.id}/input`
  const [size, setSize] = useState<Size | null>(null)
  const [broken, setBroken] = useState(false)
  useEffect(() => {
    setSize(null)
    setBroken(false)
  }, [item.id])
  // Entries of archives have no type until they are asked for; a picture made of one tells enough.
  const isPicture = item.input.type === null ? output !== undefined : item.input.type.startsWith('image/')
  const faces = facesOf(item.data)
  const original = isPicture && !broken && (
    <Picture
      key={before}
      address={before}
      label={`${texts.item.before}, ${bytes(item.input.bytes)}`}
      faces={faces}
      size={size}
      onSize={setSize}
      onBroken={() => setBroken(true)}
    />
  )
  const after = output && outputAddress(item.id, output.name)
  if (!after) return original || <Unseen item={item} broken={broken} />
  if (original && size && faces.length === 0 && isSameShape(size, output)) {
    return <Compare key={item.id} before={before} after={after} size={size} />
  }
  return (
    <div class="pair">
      {original || <Unseen item={item} broken={broken} />}
      <Picture key={after} address={after} label={`${texts.item.after}, ${bytes(output.bytes)}`} />
    </div>
  )
}

function isSameShape(size: Size, output: { width: number | null; height: number | null }): boolean {
  if (!output.width || !output.height) return false
  return Math.abs(size.width / size.height / (output.width / output.height) - 1) < SAME_SHAPE
}

function Unseen({ item, broken }: { item: Item; broken: boolean }) {
  return broken ? <p class="hint">{texts.item.cannotShow(item.input.type)}</p> : null
}

interface PictureProps {
  address: string
  label: string
  faces?: readonly Face[]
  size?: Size | null
  onSize?: (size: Size) => void
  onBroken?: () => void
}

function Picture({ address, label, faces = [], size, onSize, onBroken }: PictureProps) {
  return (
    <figure class="picture">
      <div class="frame">
        <img
          src={address}
          alt={label}
          onLoad={({ currentTarget: image }) => onSize?.({ width: image.naturalWidth, height: image.naturalHeight })}
          onError={onBroken}
        />
        {size && faces.length > 0 && <Faces faces={faces} size={size} />}
      </div>
      <figcaption>{label}</figcaption>
    </figure>
  )
}

function Faces({ faces, size }: { faces: readonly Face[]; size: Size }) {
  return (
    <svg class="faces" viewBox={`0 0 ${size.width} ${size.height}`} role="img" aria-label={texts.item.faces(faces.length)}>
      {faces.map((face, number) => (
        <rect key={number} x={face.x} y={face.y} width={face.width} height={face.height}>
          <title>{texts.item.faceLabel(number + 1)}</title>
        </rect>
      ))}
    </svg>
  )
}

function Compare({ before, after, size }: { before: string; after: string; size: Size }) {
  const [cut, setCut] = useState(50)
  return (
    <div class="compare" style={{ aspectRatio: `${size.width} / ${size.height}`, '--cut': `${cut}%` }}>
      <img src={after} alt={texts.item.after} />
      <img class="over" src={before} alt={texts.item.before} />
      <span class="tag left" aria-hidden="true">
        {texts.item.before}
      </span>
      <span class="tag right" aria-hidden="true">
        {texts.item.after}
      </span>
      <span class="knife" aria-hidden="true" />
      <input
        type="range"
        min={0}
        max={100}
        value={cut}
        aria-label={texts.item.slider}
        onInput={(event) => setCut(Number(event.currentTarget.value))}
      />
    </div>
  )
}
