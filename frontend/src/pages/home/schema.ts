/** An operation's options as JSON Schema describes them, read into fields that a form can show. */

export interface Field {
  name: string
  label: string
  /** What stands behind the number. */
  unit: string | null
  hint: string
  kind: 'switch' | 'choice' | 'number' | 'text'
  choices: string[]
  least: number | null
  most: number | null
  whole: boolean
  /** Whether it may be left empty. */
  optional: boolean
  pattern: string | null
}

interface Property {
  type?: string
  title?: string
  description?: string
  enum?: unknown[]
  anyOf?: Property[]
  minimum?: number
  maximum?: number
  pattern?: string
}

const UNITS: Record<string, string> = { px: 'px', pct: '%', seconds: 's', s: 's', ms: 'ms', usd: 'US$' }

export function fieldsOf(schema: Record<string, unknown>): Field[] {
  const properties = (schema.properties ?? {}) as Record<string, Property>
  return Object.entries(properties).map(([name, property]) => fieldOf(name, property))
}

function fieldOf(name: string, property: Property): Field {
  const inner = property.anyOf?.find((each) => each.type !== 'null') ?? property
  const words = name.split('_')
  const unit = words.length > 1 ? (UNITS[words.at(-1) ?? ''] ?? null) : null
  const label = (unit ? words.slice(0, -1) : words).join(' ')
  return {
    name,
    label: label.charAt(0).toUpperCase() + label.slice(1),
    unit: unit ?? (/\bin px\b/.test(property.description ?? '') ? 'px' : null),
    hint: property.description ?? '',
    kind: kindOf(inner),
    choices: (inner.enum ?? []).map(String),
    least: inner.minimum ?? null,
    most: inner.maximum ?? null,
    whole: inner.type === 'integer',
    optional: property.anyOf?.some((each) => each.type === 'null') ?? false,
    pattern: inner.pattern ?? null,
  }
}

function kindOf(property: Property): Field['kind'] {
  if (property.enum) return 'choice'
  if (property.type === 'boolean') return 'switch'
  return property.type === 'integer' || property.type === 'number' ? 'number' : 'text'
}

/** "1–100", "at least 1", or nothing. */
export function rangeOf({ least, most }: Field): string {
  const text = (value: number) => value.toLocaleString('en')
  if (least !== null && most !== null) return `${text(least)}–${text(most)}`
  if (least !== null) return `≥ ${text(least)}`
  return most === null ? '' : `≤ ${text(most)}`
}
