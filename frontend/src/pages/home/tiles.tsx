/** The state of the server in six numbers. */
import { get } from '../../api/client'
import type { Queue } from '../../api/types'
import { ago, bytes, count } from '../../format'
import { useLoaded, useTicking } from '../../loading'
import { texts } from '../../texts'

const EVERY_MS = 5_000

/** `news` changes when there is reason to look at once. */
export function Tiles({ news }: { news: string }) {
  const { value, error, refresh } = useLoaded((signal) => get<Queue>('/v1/queue', { signal }), [news])
  useTicking(refresh, EVERY_MS)
  const oldest = value?.lanes.map((lane) => lane.oldest_at).filter((at) => at !== null).sort()[0]
  const day = value?.last_day
  const failed = day ? day.failed + day.quarantined : 0
  const waiting = value ? value.counts.pending + value.counts.queued + value.counts.retrying : 0
  return (
    <section aria-label={texts.tiles.label} aria-busy={!value && !error}>
      <dl class="tiles">
        <Tile name={texts.tiles.today} value={day && count(day.total)} />
        <Tile name={texts.tiles.failed} value={day && count(failed)} bad={failed > 0} />
        <Tile name={texts.tiles.waiting} value={value && count(waiting)} />
        <Tile name={texts.tiles.oldest} value={value && (oldest ? ago(oldest) : texts.tiles.none)} />
        <Tile name={texts.tiles.workers} value={value && texts.tiles.slots(value.workers, value.slots)} bad={value?.workers === 0} />
        <Tile name={texts.tiles.disk} value={value && (value.free_bytes === null ? texts.tiles.bucket : bytes(value.free_bytes))} />
      </dl>
    </section>
  )
}

function Tile({ name, value, bad = false }: { name: string; value: string | null | undefined; bad?: boolean }) {
  return (
    <div class={`tile ${bad ? 'bad' : ''}`}>
      <dt>{name}</dt>
      <dd>{value ?? '–'}</dd>
    </div>
  )
}
