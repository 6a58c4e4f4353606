/** One row: a small picture, the file's name, how it is, and what became of its size. */
import { useEffect, useState } from 'preact/hooks'
import { outputAddress } from '../../api/client'
import type { Item, ItemStatus } from '../../api/types'
import { Icon, type IconName } from '../../components/icons'
import { bytes, change, milliseconds } from '../../format'
import { texts } from '../../texts'

const THUMBNAIL_MOST_BYTES = 600_000
/** Pictures are asked for only where scrolling rests. */
const THUMBNAIL_WAIT_MS = 150

export const STATUS_ICONS: Record<ItemStatus, IconName> = {
  completed: 'check',
  skipped: 'skip',
  processing: 'spinner',
  retrying: 'retry',
  queued: 'clock',
  pending: 'clock',
  failed: 'warning',
  quarantined: 'ban',
  cancelled: 'close',
}

interface ItemRowProps {
  row: number
  item: Item | undefined
  /** Pixels from the canvas's upper edge. */
  top: number
  active: boolean
  chosen: boolean
  onClick: () => void
}

export function ItemRow({ row, item, top, active, chosen, onClick }: ItemRowProps) {
  return (
    <div
      id={`row-${row}`}
      class={`row ${active ? 'active' : ''} ${chosen ? 'chosen' : ''}`}
      role="row"
      aria-rowindex={row + 2}
      aria-selected={chosen}
      style={{ transform: `translateY(${top}px)` }}
      onClick={onClick}
    >
      {item ? <Cells item={item} /> : <Waiting row={row} />}
    </div>
  )
}

function Waiting({ row }: { row: number }) {
  // What is read out begins with what is shown.
  const label = `${row + 1} ${texts.list.loading}`
  return (
    <span role="gridcell" class="cell-name quiet" aria-label={label}>
      <span class="thumbnail" />
      {row + 1}
    </span>
  )
}

function Cells({ item }: { item: Item }) {
  const { folder, name } = split(item.input.path)
  return (
    <>
      <span role="gridcell" class="cell-name" title={item.input.path}>
        <Thumbnail item={item} />
        <bdi>
          <span class="quiet folder">{folder}</span>
          {name}
        </bdi>
      </span>
      <span role="gridcell" class={`cell-status ${item.status}`}>
        <Icon name={STATUS_ICONS[item.status]} class={item.status === 'processing' ? 'turning' : ''} />
        {texts.status[item.status]}
      </span>
      <span role="gridcell" class="cell-size">
        {bytes(item.input.bytes)}
      </span>
      <span role="gridcell" class="cell-result">
        <Result item={item} />
      </span>
      <span role="gridcell" class="cell-time">
        {item.timings.run_ms === null ? '' : milliseconds(item.timings.run_ms)}
      </span>
    </>
  )
}

function Result({ item }: { item: Item }) {
  if (item.error) return <bdi title={item.error.message}>{withoutName(item.error.message, item.input.path)}</bdi>
  if (item.status === 'processing') return <progress value={item.progress} aria-label={texts.list.columns.result} />
  if (item.skipped) return <span title={texts.item.skipped[item.skipped.reason]}>{texts.list.skipped[item.skipped.reason]}</span>
  if (item.outputs.length === 0) return null
  const made = item.outputs.reduce((sum, output) => sum + output.bytes, 0)
  return (
    <>
      {bytes(made)} <span class="change">{change(item.input.bytes, made)}</span>
    </>
  )
}

/** A message as it reads beside the file's name: "is empty (0 bytes)". */
function withoutName(message: string, name: string): string {
  return message.startsWith(`${name} `) ? message.slice(name.length + 1) : message
}

function Thumbnail({ item }: { item: Item }) {
  const pictures = item.outputs.filter((output) => output.type.startsWith('image/') && output.bytes <= THUMBNAIL_MOST_BYTES)
  const smallest = pictures.sort((a, b) => a.bytes - b.bytes)[0]
  const address = smallest ? outputAddress(item.id, smallest.name) : null
  const shown = useRested(address)
  return (
    <span class="thumbnail">
      {shown ? <img key={shown} src={shown} alt="" decoding="async" /> : <Icon name={iconOf(item.input.type)} />}
    </span>
  )
}

/** A value that stays for a moment; null until then. */
function useRested(value: string | null): string | null {
  const [rested, setRested] = useState<string | null>(null)
  useEffect(() => {
    const timer = setTimeout(() => setRested(value), THUMBNAIL_WAIT_MS)
    return () => clearTimeout(timer)
  }, [value])
  return rested === value ? rested : null
}

function iconOf(type: string | null): IconName {
  if (type?.startsWith('image/')) return 'image'
  return type && /csv|sheet|excel/.test(type) ? 'table' : 'file'
}

export function split(path: string): { folder: string; name: string } {
  const at = path.lastIndexOf('/') + 1
  return { folder: path.slice(0, at), name: path.slice(at) }
}
