/** What to do with the files that were picked: a preset, its options, and Start. */
import { useState } from 'preact/hooks'
import { get, ProblemError } from '../../api/client'
import type { Batch, Listing, Preset } from '../../api/types'
import { Button, IconButton } from '../../components/button'
import { ProblemNotice } from '../../components/notice'
import { done, problem } from '../../components/toast'
import { bytes } from '../../format'
import { useLoaded } from '../../loading'
import type { Picked } from '../../sending/gather'
import { send } from '../../sending/sendings'
import { texts } from '../../texts'
import { BrowserWork } from './browser_work'
import { suggested, remember } from './choice'
import { StepOptions, type Chosen } from './step_options'

interface OrderFormProps {
  picked: Picked[]
  like: Batch | null
  onClear: () => void
  onSent: (sent: Picked[]) => void
}

/** Stands for the pipeline of the batch that is to be done again. */
const LIKE = ''
/** Leaves room for how many more there are. */
const LONGEST_NAME = 150

export function OrderForm({ picked, like, onClear, onSent }: OrderFormProps) {
  const { value, error, reload } = useLoaded((signal) => get<Listing<Preset>>('/v1/presets', { signal }), [])
  const [name, setName] = useState<string | null>(null)
  const [options, setOptions] = useState<Record<string, Chosen>>({})
  const [title, setTitle] = useState('')
  const [busy, setBusy] = useState(false)
  const [away, setAway] = useState(false)
  if (error) {
    return (
      <div class="order">
        <ProblemNotice error={error} onRetry={reload} />
        {isOutage(error) && <BrowserWork picked={picked} />}
      </div>
    )
  }
  if (!value) return <p class="quiet">{texts.app.loading}</p>
  const chosen = name ?? (like ? LIKE : suggested(picked, value.data))
  const preset = value.data.find((each) => each.name === chosen)
  const choose = (to: string) => {
    setName(to)
    setOptions({})
  }
  const start = async (event: Event) => {
    event.preventDefault()
    setBusy(true)
    try {
      const pipeline = preset?.name ?? like?.pipeline ?? chosen
      await send(picked, { pipeline, step_options: options, name: title.trim() || nameOf(picked) })
      if (preset) remember(preset.name)
      done(texts.home.started)
      setTitle('')
      onSent(picked)
    } catch (refused) {
      problem(refused)
      setAway(isOutage(refused))
    } finally {
      setBusy(false)
    }
  }
  return (
    <form class="order" onSubmit={start} aria-labelledby="order-title">
      <div class="order-head">
        <h2 id="order-title">
          {texts.home.picked(picked.length)} <span class="quiet">{bytes(picked.reduce((sum, each) => sum + each.file.size, 0))}</span>
        </h2>
        <Button kind="primary" icon="play" type="submit" busy={busy}>
          {texts.home.start}
        </Button>
        <IconButton icon="close" label={texts.home.clear} onClick={onClear} />
      </div>
      {away && <BrowserWork picked={picked} />}
      <fieldset class="presets">
        <legend class="silent">{texts.home.presets}</legend>
        {like && <PresetChoice name={LIKE} title={texts.home.like} summary={stepsOf(like)} chosen={chosen} onChoose={choose} />}
        {value.data.map((each) => (
          <PresetChoice key={each.name} name={each.name} title={each.name} summary={each.summary} chosen={chosen} onChoose={choose} />
        ))}
      </fieldset>
      <details class="options" onInvalidCapture={({ currentTarget: options }) => (options.open = true)}>
        <summary>{texts.home.options}</summary>
        <label class="field">
          <span>{texts.home.name}</span>
          <input type="text" maxLength={200} value={title} placeholder={nameOf(picked)} onInput={(event) => setTitle(event.currentTarget.value)} />
          <small>{texts.home.nameHint}</small>
        </label>
        {preset?.pipeline.steps.map((step) => {
          const id = step.id ?? step.use
          return (
            <StepOptions
              key={`${preset.name} ${id}`}
              step={step}
              schema={preset.options[id] ?? {}}
              chosen={options[id] ?? {}}
              onChange={(to) => setOptions((before) => ({ ...before, [id]: to }))}
            />
          )
        })}
      </details>
    </form>
  )
}

const isOutage = (error: unknown): boolean => error instanceof ProblemError && error.isOutage

interface PresetChoiceProps {
  name: string
  title: string
  summary: string
  chosen: string
  onChoose: (name: string) => void
}

function PresetChoice({ name, title, summary, chosen, onChoose }: PresetChoiceProps) {
  return (
    <label class="preset">
      <input type="radio" name="preset" value={name} checked={chosen === name} onChange={() => onChoose(name)} />
      <span>
        <b>{title}</b>
        <small>{summary}</small>
      </span>
    </label>
  )
}

const stepsOf = (batch: Batch): string => batch.pipeline.steps.map((step) => step.use).join(' → ')

/** The folder that all files came in, or the first file. */
function nameOf(picked: Picked[]): string {
  const folders = new Set(picked.map(({ path }) => (path.includes('/') ? path.slice(0, path.indexOf('/')) : '')))
  const [only] = folders
  if (folders.size === 1 && only) return only.slice(0, LONGEST_NAME)
  const first = (picked[0]?.path.split('/').pop() ?? '').slice(0, LONGEST_NAME)
  return picked.length === 1 ? first : texts.home.andMore(first, picked.length - 1)
}
