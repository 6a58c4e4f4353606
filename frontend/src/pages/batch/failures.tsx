/** Why files failed: one entry for each cause, the most frequent first. */
import { useState } from 'preact/hooks'
import { get, post } from '../../api/client'
import type { Batch, FailureGroup, Listing } from '../../api/types'
import { Button } from '../../components/button'
import { Marked } from '../../components/marked'
import { ProblemNotice } from '../../components/notice'
import { done, problem } from '../../components/toast'
import { count } from '../../format'
import { useLoaded } from '../../loading'
import { texts } from '../../texts'
import { EVERYTHING, type Wanted } from './rows'

const SHOWN = 20

interface FailuresProps {
  batch: Batch
  wanted: Wanted
  onWant: (wanted: Wanted) => void
  onChange: (batch: Batch) => void
}

export function Failures({ batch, wanted, onWant, onChange }: FailuresProps) {
  const number = batch.counts.failed + batch.counts.quarantined
  const { value, error, reload } = useLoaded(
    (signal) => get<Listing<FailureGroup>>(`/v1/batches/${batch.id}/errors`, { signal }),
    [batch.id, number],
  )
  if (error) return <ProblemNotice error={error} onRetry={reload} />
  const groups = value?.data ?? []
  return (
    <aside class="side failures" aria-label={texts.failures.title}>
      <h2>{texts.failures.title}</h2>
      <ul>
        {groups.slice(0, SHOWN).map((group) => (
          <Group
            key={group.id}
            batch={batch}
            group={group}
            chosen={wanted.group === group.id}
            onShow={() => onWant(wanted.group === group.id ? EVERYTHING : { ...EVERYTHING, group: group.id })}
            onChange={onChange}
          />
        ))}
      </ul>
      {groups.length > SHOWN && <p class="quiet">{texts.failures.more(groups.length - SHOWN)}</p>}
    </aside>
  )
}

interface GroupProps {
  batch: Batch
  group: FailureGroup
  chosen: boolean
  onShow: () => void
  onChange: (batch: Batch) => void
}

function Group({ batch, group, chosen, onShow, onChange }: GroupProps) {
  const [busy, setBusy] = useState(false)
  const retry = async () => {
    setBusy(true)
    try {
      const body = { scope: 'group', group: group.id }
      const answer = await post<{ retried: number; batch: Batch }>(`/v1/batches/${batch.id}/retry`, { body })
      onChange(answer.batch)
      done(texts.batch.retried(answer.retried))
    } catch (error) {
      problem(error)
    } finally {
      setBusy(false)
    }
  }
  const message = messageOf(group)
  const names = group.samples.map((sample) => sample.name)
  return (
    <li class={`failure ${chosen ? 'chosen' : ''}`}>
      <p>
        <b class="failure-count">{count(group.count)}</b> <bdi>{message}</bdi>
      </p>
      <p>
        <Marked text={group.remedy} />
      </p>
      <p class="quiet">
        <bdi>{texts.failures.names(names, group.count - names.length)}</bdi>
      </p>
      <div class="failure-actions">
        <code>{group.code}</code>
        <Toggle pressed={chosen} label={texts.failures.showLabel(message)} onClick={onShow} />
        <Button kind="quiet" icon="retry" busy={busy} onClick={retry}>
          {texts.failures.retry}
          <span class="silent">{texts.failures.retryLabel(group.count, message)}</span>
        </Button>
      </div>
    </li>
  )
}

function Toggle({ pressed, label, onClick }: { pressed: boolean; label: string; onClick: () => void }) {
  return (
    <button class="button quiet" type="button" aria-pressed={pressed} aria-label={label} onClick={onClick}>
      {pressed ? texts.list.showAll : texts.failures.show}
    </button>
  )
}

/** What the failures of a group say alike: with its numbers, where they are the same for all samples. */
export function messageOf(group: FailureGroup): string {
  const said = new Set(group.samples.map(({ name, message }) => message.replaceAll(name, texts.failures.theFile)))
  const [only] = said
  return said.size === 1 && only ? only : group.message.replaceAll('…', texts.failures.theFile)
}
