/** The bar, and the numbers beside it. */
import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import type { Batch, ItemStatus } from '../../api/types'
import { SegmentedBar } from '../../components/segmented_bar'
import { bytes, change, milliseconds, percent, range, rate } from '../../format'
import { texts } from '../../texts'
import { EVERYTHING, type Wanted } from './rows'
import { endedOf, perSecond, withSample, type Sample } from './throughput'

interface OverviewProps {
  batch: Batch
  wanted: Wanted
  onWant: (wanted: Wanted) => void
}

export function Overview({ batch, wanted, onWant }: OverviewProps) {
  const { progress } = batch
  const choose = (status: ItemStatus) =>
    onWant(wanted.status === status ? EVERYTHING : { ...EVERYTHING, status })
  return (
    <section class="overview" aria-label={texts.batch.progress}>
      <div class="percent">{progress.percent === null ? texts.batch.open : percent(progress.percent)}</div>
      <SegmentedBar
        label={texts.batch.progress}
        counts={batch.counts}
        percent={progress.percent}
        chosen={wanted.status}
        onChoose={choose}
      />
      <dl class="numbers">
        <Speed batch={batch} />
        <Remaining batch={batch} />
        <Sizes batch={batch} />
      </dl>
    </section>
  )
}

function Figure({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div class="figure">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}

function Speed({ batch }: { batch: Batch }) {
  const { items_per_second } = batch.progress
  return (
    <Figure name={texts.batch.rate}>
      {items_per_second === null ? texts.batch.unknown : rate(items_per_second)}
      {batch.ended_at === null && <Line batch={batch} />}
    </Figure>
  )
}

function Remaining({ batch }: { batch: Batch }) {
  const { eta_low_seconds: low, eta_high_seconds: high, position } = batch.progress
  if (batch.ended_at) {
    const ranMs = Date.parse(batch.ended_at) - Date.parse(batch.started_at ?? batch.created_at)
    return <Figure name={texts.batch.took}>{milliseconds(ranMs)}</Figure>
  }
  if (position !== null) return <Figure name={texts.batch.position}>{texts.batch.place(position)}</Figure>
  return (
    <Figure name={texts.batch.left}>
      {low === null || high === null ? texts.batch.unknown : range(low, high)}
    </Figure>
  )
}

function Sizes({ batch }: { batch: Batch }) {
  const { bytes_in, bytes_out, bytes_saved } = batch.progress
  const done = bytes_saved + bytes_out
  if (bytes_out === 0 || bytes_saved === 0) return <Figure name={texts.batch.sizes}>{bytes(bytes_in)}</Figure>
  const saved = bytes_saved >= 0 ? texts.batch.saved(bytes(bytes_saved)) : texts.batch.grown(bytes(-bytes_saved))
  return (
    <Figure name={texts.batch.sizes}>
      <span>
        {bytes(done)} → {bytes(bytes_out)}
      </span>
      <span class={bytes_saved > 0 ? 'second good' : 'second quiet'}>
        {change(done, bytes_out)}, {saved}
      </span>
    </Figure>
  )
}

const SHORTEST_LINE_S = 3
const WIDTH = 80
const HEIGHT = 24

/** Files a second, drawn for as long as somebody looks on, up to two minutes. */
function Line({ batch }: { batch: Batch }) {
  const samples = useRef<Sample[]>([])
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    samples.current = withSample(samples.current, { at: Date.now(), ended: endedOf(batch.counts) })
  }, [batch.revision])
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000)
    return () => clearInterval(timer)
  }, [])
  const values = perSecond(samples.current, now)
  const most = Math.max(...values, 0)
  if (values.length < SHORTEST_LINE_S || most === 0) return null
  const points = values.map((value, second) => {
    const y = HEIGHT - 1 - (value / most) * (HEIGHT - 2)
    return `${((second / (values.length - 1)) * WIDTH).toFixed(1)},${y.toFixed(1)}`
  })
  return (
    <svg class="line" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={texts.batch.rateLine}>
      <polygon points={`0,${HEIGHT} ${points.join(' ')} ${WIDTH},${HEIGHT}`} />
      <polyline points={points.join(' ')} />
    </svg>
  )
}
