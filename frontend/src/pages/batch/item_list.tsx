/** Every file of a batch in one scrolling list, of which only what is seen is drawn. */
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { Counts } from '../../api/types'
import { IconButton } from '../../components/button'
import { Notice } from '../../components/notice'
import { texts } from '../../texts'
import { ItemRow } from './item_row'
import { EVERYTHING, type Rows, type Wanted } from './rows'
import { canvasPx, moved, rested, rowTop, showing, START, visible, type Extent, type Place } from './scroll'
import './item_list.css'

const ROW_PX = 44
const REST_MS = 120

interface ItemListProps {
  rows: Rows
  version: number
  problem: unknown
  counts: Counts
  wanted: Wanted
  onWant: (wanted: Wanted) => void
  /** The row whose file is open. */
  chosen: number | null
  onChoose: (row: number) => void
  /** Open a row's file and go there: the way of keyboard and readers. */
  onEnter: (row: number) => void
}

export function ItemList(props: ItemListProps) {
  const { rows, problem, wanted, onWant } = props
  const isNarrowed = wanted !== EVERYTHING
  return (
    <section class="items" aria-label={texts.list.label}>
      <Toolbar {...props} />
      {problem !== null && <p role="alert">{texts.list.failed}</p>}
      {rows.isEmpty && (
        <Notice
          title={isNarrowed ? texts.list.noneTitle : texts.list.emptyTitle}
          text={isNarrowed ? texts.list.noneText : texts.list.emptyText}
        >
          {isNarrowed && (
            <button class="button" type="button" onClick={() => onWant(EVERYTHING)}>
              {texts.list.showAll}
            </button>
          )}
        </Notice>
      )}
      {!rows.isEmpty && <Grid {...props} />}
    </section>
  )
}

const SEARCH_MS = 250

function Toolbar({ counts, wanted, onWant }: ItemListProps) {
  const input = useRef<HTMLInputElement>(null)
  const timer = useRef<number | undefined>(undefined)
  useEffect(() => focusAtSlash(() => input.current?.focus()), [])
  useEffect(() => {
    if (wanted.q !== '' || !input.current || input.current === document.activeElement) return
    input.current.value = ''
    clearTimeout(timer.current) // what was chosen after the last letter counts
  }, [wanted])
  useEffect(() => () => clearTimeout(timer.current), [])
  const search = (q: string) => {
    clearTimeout(timer.current)
    timer.current = window.setTimeout(() => onWant(q ? { ...EVERYTHING, q } : EVERYTHING), SEARCH_MS)
  }
  return (
    <div class="toolbar">
      <input
        ref={input}
        type="search"
        aria-label={texts.list.search}
        placeholder={texts.list.search}
        title={texts.list.keys}
        onInput={(event) => search(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== 'Escape') return
          event.stopPropagation()
          event.currentTarget.blur()
        }}
      />
      <span class="quiet">{shownText(wanted, counts)}</span>
      {wanted !== EVERYTHING && (
        <IconButton icon="close" label={texts.list.showAll} onClick={() => onWant(EVERYTHING)} />
      )}
    </div>
  )
}

function shownText(wanted: Wanted, counts: Counts): string {
  if (wanted.status) return `${texts.status[wanted.status]}: ${texts.items(counts[wanted.status])}`
  if (wanted.group) return texts.list.shownGroup
  return wanted.q ? '' : texts.items(counts.total)
}

/** Call back when somebody types "/" outside of a field. */
function focusAtSlash(focus: () => void): () => void {
  const onKey = (event: KeyboardEvent) => {
    const inField = event.target instanceof HTMLElement && event.target.matches('input, textarea, select')
    if (event.key !== '/' || inField || event.ctrlKey || event.metaKey) return
    event.preventDefault()
    focus()
  }
  window.addEventListener('keydown', onKey)
  return () => window.removeEventListener('keydown', onKey)
}

function Grid({ rows, version, wanted, chosen, onChoose, onEnter }: ItemListProps) {
  const grid = useRef<HTMLDivElement>(null)
  const [active, setActive] = useState(0)
  const { place, extent, onScroll, show } = useScrolling(grid, rows.length, wanted)
  const { first, last } = visible(place, extent)
  useEffect(() => rows.look(first, last), [rows, first, last, version])
  useEffect(() => setActive(0), [rows])
  useEffect(() => {
    if (chosen === null) return
    setActive(chosen)
    show(chosen)
  }, [chosen])

  const go = (row: number) => {
    const to = Math.min(Math.max(0, row), rows.length - 1)
    setActive(to)
    show(to)
    if (chosen !== null) onChoose(to)
  }
  const onKey = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor(extent.viewportPx / ROW_PX) - 1)
    const to = target(event.key, active, page, rows.length)
    if (to !== null) go(to)
    else if (event.key === 'Enter') onEnter(active)
    else return
    event.preventDefault()
  }
  const drawn = []
  for (let row = first; row <= last; row += 1) {
    drawn.push(
      <ItemRow
        key={row}
        row={row}
        item={rows.at(row)}
        top={rowTop(row, place, extent)}
        active={row === active}
        chosen={row === chosen}
        onClick={() => {
          setActive(row)
          onChoose(row)
        }}
      />,
    )
  }
  const isSeen = active >= first && active <= last
  return (
    <div
      ref={grid}
      class="grid"
      role="grid"
      aria-label={texts.list.label}
      aria-rowcount={rows.length + 1}
      aria-colcount={5}
      aria-activedescendant={isSeen ? `row-${active}` : undefined}
      tabIndex={0}
      onScroll={onScroll}
      onKeyDown={onKey}
    >
      <div class="row heads" role="row" aria-rowindex={1}>
        {Object.entries(texts.list.columns).map(([name, title]) => (
          <span key={name} role="columnheader" class={`cell-${name}`}>
            {title}
          </span>
        ))}
      </div>
      <div class="canvas" role="presentation" style={{ height: `${canvasPx(extent)}px` }}>
        {drawn}
      </div>
    </div>
  )
}

/** Where the list stands; `show` brings a row into view. */
function useScrolling(grid: { current: HTMLDivElement | null }, number: number, wanted: Wanted) {
  const [viewportPx, setViewportPx] = useState(600)
  const [place, setPlace] = useState<Place>(START)
  const extent: Extent = { rows: number, rowPx: ROW_PX, viewportPx }
  const resting = useRef<number | undefined>(undefined)
  const now = useRef(place)
  const put = (next: Place) => {
    now.current = next
    setPlace(next)
    const element = grid.current
    if (element && Math.round(element.scrollTop) !== Math.round(next.bar)) element.scrollTop = next.bar
  }
  useLayoutEffect(() => {
    const element = grid.current
    if (!element) return
    const heads = element.querySelector<HTMLElement>('.heads')
    const measure = () => setViewportPx(Math.max(ROW_PX, element.clientHeight - (heads?.offsetHeight ?? 0)))
    const watching = new ResizeObserver(measure)
    watching.observe(element)
    measure()
    return () => watching.disconnect()
  }, [])
  useLayoutEffect(() => put(START), [wanted])
  const onScroll = () => {
    const bar = grid.current?.scrollTop ?? 0
    if (Math.abs(bar - now.current.bar) < 1) return // what `put` did itself
    put(moved(now.current, bar, extent))
    clearTimeout(resting.current)
    resting.current = window.setTimeout(() => put(rested(now.current, extent)), REST_MS)
  }
  useEffect(() => () => clearTimeout(resting.current), [])
  return { place, extent, onScroll, show: (row: number) => put(showing(row, now.current, extent)) }
}

function target(key: string, active: number, page: number, length: number): number | null {
  switch (key) {
    case 'ArrowDown':
      return active + 1
    case 'ArrowUp':
      return active - 1
    case 'PageDown':
      return active + page
    case 'PageUp':
      return active - page
    case 'Home':
      return 0
    case 'End':
      return length - 1
    default:
      return null
  }
}
