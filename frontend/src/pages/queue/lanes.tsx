/** What has not ended, by family, tier and priority: the order in which it is taken up. */
import type { Lane } from '../../api/types'
import { Table, type Column } from '../../components/table'
import { count, duration } from '../../format'
import { texts } from '../../texts'

const said = texts.queue

const COLUMNS: Column<Lane>[] = [
  { title: said.laneColumns.family, cell: (lane) => <bdi>{lane.family}</bdi> },
  { title: said.laneColumns.tier, cell: (lane) => lane.tier },
  { title: said.laneColumns.rank, cell: (lane) => said.ranks[lane.rank] ?? lane.rank },
  { title: said.laneColumns.batches, cell: (lane) => count(lane.batches), number: true },
  {
    title: said.laneColumns.waiting,
    cell: ({ counts }) => count(counts.pending + counts.queued + counts.retrying),
    number: true,
  },
  { title: said.laneColumns.running, cell: ({ counts }) => count(counts.processing), number: true },
  { title: said.laneColumns.oldest, cell: (lane) => since(lane.oldest_at) },
]

export function Lanes({ lanes }: { lanes: readonly Lane[] }) {
  if (lanes.length === 0) return <p class="quiet">{said.nothingWaits}</p>
  const key = (lane: Lane) => `${lane.family} ${lane.tier} ${lane.rank}`
  return <Table caption={said.lanes} columns={COLUMNS} rows={merged(lanes, key)} rowKey={key} />
}

/** Priorities given as numbers can share the nearest name. */
function merged(lanes: readonly Lane[], key: (lane: Lane) => string): Lane[] {
  const found = new Map<string, Lane>()
  for (const lane of lanes) {
    const known = found.get(key(lane))
    found.set(key(lane), known ? together(known, lane) : lane)
  }
  return [...found.values()]
}

function together(a: Lane, b: Lane): Lane {
  const counts = Object.fromEntries(Object.entries(a.counts).map(([name, number]) => [name, number + b.counts[name as keyof Lane['counts']]]))
  const oldest_at = [a.oldest_at, b.oldest_at].filter((at) => at !== null).sort()[0] ?? null
  return { ...a, batches: a.batches + b.batches, counts: counts as Lane['counts'], oldest_at }
}

const since = (at: string | null): string => (at === null ? '–' : duration((Date.now() - Date.parse(at)) / 1_000))
