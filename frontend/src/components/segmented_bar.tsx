/** One bar for all items of a batch, a part for each status; parts are drawn, chips are pressed. */
import { count } from '../format'
import { texts } from '../texts'
import { ITEM_STATUSES, type Counts, type ItemStatus } from '../api/types'

/** The parts that are not empty, in the bar's order, with their share of the whole in percent. */
export function parts(counts: Counts): { status: ItemStatus; number: number; share: number }[] {
  const all = Math.max(1, counts.total)
  return ITEM_STATUSES.filter((status) => counts[status] > 0).map((status) => ({
    status,
    number: counts[status],
    share: (counts[status] / all) * 100,
  }))
}

interface SegmentedBarProps {
  label: string
  counts: Counts
  percent: number | null
  chosen?: ItemStatus | null
  /** Makes every part a filter; without it the bar is a picture. */
  onChoose?: (status: ItemStatus) => void
}

export function SegmentedBar({ label, counts, percent, chosen = null, onChoose }: SegmentedBarProps) {
  const shown = parts(counts)
  const bar = (
    <div
      class="segments"
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent ?? undefined}
    >
      {shown.map(({ status, share }) => (
        <span key={status} class={`segment ${status}`} style={{ flexGrow: share }} onClick={() => onChoose?.(status)} />
      ))}
    </div>
  )
  if (!onChoose) return bar
  return (
    <div class="segmented">
      {bar}
      <div class="chips" role="group" aria-label={texts.app.filters}>
        {shown.map(({ status, number }) => (
          <button
            key={status}
            type="button"
            class={`chip ${status}`}
            aria-pressed={status === chosen}
            onClick={() => onChoose(status)}
          >
            <span class="dot" />
            {texts.status[status]} <b>{count(number)}</b>
          </button>
        ))}
      </div>
    </div>
  )
}
