/** The options of one step as a form; only what differs from the preset is sent. */
import { useId } from 'preact/hooks'
import type { Step } from '../../api/types'
import { texts } from '../../texts'
import { fieldsOf, rangeOf, type Field } from './schema'

export type Chosen = Record<string, unknown>

interface StepOptionsProps {
  step: Step
  schema: Record<string, unknown>
  chosen: Chosen
  onChange: (chosen: Chosen) => void
}

export function StepOptions({ step, schema, chosen, onChange }: StepOptionsProps) {
  const put = (name: string, value: unknown) => {
    const { [name]: _, ...others } = chosen
    onChange(value === step.with?.[name] ? others : { ...others, [name]: value })
  }
  return (
    <fieldset class="step">
      <legend>{step.use}</legend>
      <div class="fields">
        {fieldsOf(schema).map((field) => (
          <OptionField
            key={field.name}
            field={field}
            value={field.name in chosen ? chosen[field.name] : step.with?.[field.name]}
            changed={field.name in chosen}
            onChange={(value) => put(field.name, value)}
          />
        ))}
      </div>
    </fieldset>
  )
}

interface OptionFieldProps {
  field: Field
  value: unknown
  changed: boolean
  onChange: (value: unknown) => void
}

function OptionField(props: OptionFieldProps) {
  const { field, changed } = props
  const id = useId()
  const hint = `${id}-hint`
  const range = rangeOf(field)
  const label = <label for={id}>{field.unit ? `${field.label} (${field.unit})` : field.label}</label>
  return (
    <div class={`field ${field.kind} ${changed ? 'changed' : ''}`}>
      {field.kind !== 'switch' && label}
      <Control {...props} id={id} hint={hint} />
      {field.kind === 'switch' && label}
      <small id={hint}>
        {range && <b>{range} </b>}
        {field.hint}
      </small>
    </div>
  )
}

function Control({ field, value, onChange, id, hint }: OptionFieldProps & { id: string; hint: string }) {
  const shared = { id, 'aria-describedby': hint }
  switch (field.kind) {
    case 'switch':
      return <input {...shared} type="checkbox" checked={value === true} onChange={(event) => onChange(event.currentTarget.checked)} />
    case 'choice':
      return (
        <select {...shared} value={value == null ? '' : String(value)} onChange={(event) => onChange(chosenOf(field, event.currentTarget.value))}>
          {field.optional && <option value="">{texts.home.automatic}</option>}
          {field.choices.map((each) => (
            <option key={each}>{each}</option>
          ))}
        </select>
      )
    case 'number':
      return (
        <input
          {...shared}
          type="number"
          inputMode={field.whole ? 'numeric' : 'decimal'}
          min={field.least ?? undefined}
          max={field.most ?? undefined}
          step={field.whole ? 1 : 'any'}
          required={!field.optional}
          placeholder={field.optional ? texts.home.automatic : ''}
          value={value == null ? '' : String(value)}
          onInput={(event) => onChange(numberOf(event.currentTarget.value))}
        />
      )
    case 'text':
      return (
        <input {...shared} type="text" pattern={field.pattern ?? undefined} value={value == null ? '' : String(value)} onInput={(event) => onChange(textOf(field, event.currentTarget.value))} />
      )
  }
}

const numberOf = (text: string): number | null => (text === '' ? null : Number(text))
const textOf = (field: Field, text: string): string | null => (text === '' && field.optional ? null : text)

/** Choices of numbers, as of degrees, come back as numbers. */
function chosenOf(field: Field, text: string): unknown {
  if (text === '' && field.optional) return null
  return field.whole ? Number(text) : text
}
