/** What failed lately: the causes in the newest batches that have failures. */
import { get } from '../../api/client'
import type { Batch, FailureGroup, Listing } from '../../api/types'
import { ago, count } from '../../format'
import { useLoaded } from '../../loading'
import { texts } from '../../texts'

const BATCHES = 3
const SHOWN = 5

interface Failure extends FailureGroup {
  batchId: string
}

export function RecentErrors({ batches }: { batches: readonly Batch[] }) {
  const failed = batches.filter((batch) => batch.counts.failed + batch.counts.quarantined > 0).slice(0, BATCHES)
  const key = failed.map((batch) => `${batch.id} ${batch.counts.failed + batch.counts.quarantined}`).join()
  const { value } = useLoaded((signal) => causes(failed, signal), [key])
  if (!value?.length) return null
  return (
    <section class="errors card" aria-labelledby="errors-title">
      <h2 id="errors-title">{texts.home.errors}</h2>
      <ul>
        {value.slice(0, SHOWN).map((failure) => (
          <li key={failure.id}>
            <a href={`/batches/${failure.batchId}`}>
              {failure.count > 1 && <b>{count(failure.count)} × </b>}
              {(failure.count === 1 && failure.samples[0]?.message) || failure.message}
            </a>
            <small class="quiet">{ago(failure.last_at)}</small>
          </li>
        ))}
      </ul>
    </section>
  )
}

async function causes(batches: readonly Batch[], signal: AbortSignal): Promise<Failure[]> {
  const found = await Promise.all(
    batches.map(async ({ id }) => {
      const { data } = await get<Listing<FailureGroup>>(`/v1/batches/${id}/errors`, { signal })
      return data.map((group) => ({ ...group, batchId: id }))
    }),
  )
  return found.flat().sort((one, other) => other.last_at.localeCompare(one.last_at))
}
