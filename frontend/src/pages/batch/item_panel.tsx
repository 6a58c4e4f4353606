/** One file beside the list: before and after, what was found, why it failed, what it took. */
import { useEffect, useRef, useState } from 'preact/hooks'
import { get, outputAddress, post } from '../../api/client'
import type { Item, Output } from '../../api/types'
import { Button, IconButton } from '../../components/button'
import { Icon } from '../../components/icons'
import { Marked } from '../../components/marked'
import { ProblemNotice } from '../../components/notice'
import { Tabs } from '../../components/tabs'
import { done, problem } from '../../components/toast'
import { bytes, change, instant, milliseconds } from '../../format'
import { useLoaded } from '../../loading'
import { texts } from '../../texts'
import { Found } from './found'
import { split, STATUS_ICONS } from './item_row'
import { Pictures } from './pictures'
import './item_panel.css'

interface ItemPanelProps {
  /** The item as the list has it; its data is read here. */
  row: Item
  /** How often it was entered by keyboard: each time the focus comes here. */
  entered: number
  onClose: () => void
  /** Go so many rows on. */
  onStep: (step: number) => void
}

type TabName = keyof typeof texts.item.tabs
const TABS = Object.entries(texts.item.tabs).map(([id, label]) => ({ id: id as TabName, label }))

export function ItemPanel({ row, entered, onClose, onStep }: ItemPanelProps) {
  const [chosen, setTab] = useState<TabName | null>(null)
  const { value, error, reload } = useLoaded(
    (signal) => get<Item>(`/v1/items/${row.id}`, { signal }),
    [row.id, row.status, row.attempts],
  )
  const item = value?.id === row.id ? value : row
  const tab = chosen ?? (isOnlyTold(item) ? 'found' : 'preview')
  useEscape(onClose)
  return (
    <aside class="side item-panel" aria-label={texts.item.label}>
      <PanelHead item={item} entered={entered} onClose={onClose} onStep={onStep} />
      {item.error && <Failure item={item} />}
      {item.skipped && <p class="hint">{texts.item.skipped[item.skipped.reason]}</p>}
      {error ? (
        <ProblemNotice error={error} onRetry={reload} />
      ) : (
        <Tabs label={texts.item.label} tabs={TABS} chosen={tab} onChoose={setTab}>
          {tab === 'preview' && <Preview item={item} />}
          {tab === 'found' && <Found item={item} read={value?.id === row.id} />}
          {tab === 'details' && <Details item={item} />}
        </Tabs>
      )}
    </aside>
  )
}

/** Nothing was made of the file, but something was found out about it. */
function isOnlyTold(item: Item): boolean {
  return item.outputs.length === 0 && Object.keys(item.data ?? {}).length > 0
}

/** Escape closes from anywhere on the page: the focus may be on a button that is gone. */
function useEscape(onClose: () => void): void {
  const latest = useRef(onClose)
  latest.current = onClose
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const isTaken = event.defaultPrevented || document.querySelector('dialog[open]') !== null
      if (event.key === 'Escape' && !isTaken) latest.current()
    }
    window.addEventListener('keydown', onKey)
    return () => window.removeEventListener('keydown', onKey)
  }, [])
}

interface PanelHeadProps extends Omit<ItemPanelProps, 'row'> {
  item: Item
}

function PanelHead({ item, entered, onClose, onStep }: PanelHeadProps) {
  const heading = useRef<HTMLHeadingElement>(null)
  const { folder, name } = split(item.input.path)
  useEffect(() => {
    if (entered > 0) heading.current?.focus()
  }, [entered])
  useEffect(() => () => document.querySelector<HTMLElement>('.grid')?.focus({ preventScroll: true }), [])
  const onKey = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (!step) return
    event.preventDefault()
    onStep(step)
  }
  return (
    <div class="panel-head">
      <div>
        <h2 ref={heading} tabIndex={-1} onKeyDown={onKey}>
          <bdi>{name}</bdi>
        </h2>
        {folder && (
          <p class="quiet">
            <bdi>{folder}</bdi>
          </p>
        )}
        <p class={`cell-status ${item.status}`}>
          <Icon name={STATUS_ICONS[item.status]} /> {texts.status[item.status]}
        </p>
      </div>
      <IconButton icon="up" label={texts.item.previous} onClick={() => onStep(-1)} />
      <IconButton icon="down" label={texts.item.next} onClick={() => onStep(1)} />
      <IconButton icon="close" label={texts.item.close} onClick={onClose} />
    </div>
  )
}

function Failure({ item }: { item: Item }) {
  const [busy, setBusy] = useState(false)
  const { error } = item
  if (!error) return null
  const retry = async () => {
    setBusy(true)
    try {
      const answer = await post<{ retried: number }>(`/v1/batches/${item.batch_id}/retry`, { body: { scope: 'ids', ids: [item.id] } })
      done(texts.batch.retried(answer.retried))
    } catch (reason) {
      problem(reason)
    } finally {
      setBusy(false)
    }
  }
  const where = error.step ? texts.item.failedIn(error.step, error.attempt) : texts.item.failedAttempt(error.attempt)
  return (
    <div class="failure">
      <p>
        <bdi>{error.message}</bdi>
      </p>
      <p>
        <Marked text={error.remedy} />
      </p>
      <p class="quiet">
        <code>{error.code}</code> · {where}
      </p>
      {item.ended_at && (
        <Button icon="retry" busy={busy} onClick={retry}>
          {texts.item.retry}
        </Button>
      )}
    </div>
  )
}

function Preview({ item }: { item: Item }) {
  return (
    <div class="stack">
      <Pictures item={item} />
      <h3>{texts.item.outputs}</h3>
      {item.outputs.length === 0 && (
        <p class="quiet">{item.ended_at ? texts.item.noOutputs.none : texts.item.noOutputs.waiting}</p>
      )}
      <ul class="outputs">
        {item.outputs.map((output) => (
          <OutputLine key={output.name} item={item} output={output} />
        ))}
        <li>
          <a href={`/v1/items/${item.id}/input`} download>
            {texts.item.original}
          </a>
          <span class="quiet">{bytes(item.input.bytes)}</span>
        </li>
      </ul>
    </div>
  )
}

function OutputLine({ item, output }: { item: Item; output: Output }) {
  return (
    <li>
      <a href={outputAddress(item.id, output.name)} download>
        <bdi>{output.name}</bdi>
      </a>
      <span class="quiet">
        {output.width && output.height ? `${output.width} × ${output.height}, ` : ''}
        {bytes(output.bytes)} {item.outputs.length === 1 && change(item.input.bytes, output.bytes)}
      </span>
    </li>
  )
}

function Details({ item }: { item: Item }) {
  const { timings, input } = item
  const facts: [string, string | null][] = [
    [texts.item.type, input.type],
    [texts.item.attempts, String(item.attempts)],
    [texts.item.waited, timings.queued_ms === null ? null : milliseconds(timings.queued_ms)],
    [texts.item.ran, timings.run_ms === null ? null : milliseconds(timings.run_ms)],
    [texts.item.ended, item.ended_at && instant(item.ended_at)],
    [texts.item.place, String(item.position + 1)],
    [texts.item.customId, item.custom_id],
    [texts.item.id, item.id],
    [texts.item.sha256, input.sha256],
  ]
  return (
    <div class="stack">
      {item.warnings.length > 0 && (
        <>
          <h3>{texts.item.warnings}</h3>
          <ul>
            {item.warnings.map((warning) => (
              <li key={warning}>{warning}</li>
            ))}
          </ul>
        </>
      )}
      <dl class="pairs">
        {facts.map(([name, value]) =>
          value === null ? null : (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ),
        )}
      </dl>
      <Steps steps={timings.steps} />
    </div>
  )
}

function Steps({ steps }: { steps: Record<string, number> }) {
  const entries = Object.entries(steps)
  const most = Math.max(...entries.map(([, ms]) => ms), 0.001)
  if (entries.length === 0) return null
  return (
    <>
      <h3>{texts.item.steps}</h3>
      <dl class="steps">
        {entries.map(([step, ms]) => (
          <div key={step}>
            <dt>{step}</dt>
            <dd>
              <span class="step-bar" style={{ width: `${(ms / most) * 100}%` }} />
              {milliseconds(ms)}
            </dd>
          </div>
        ))}
      </dl>
    </>
  )
}
