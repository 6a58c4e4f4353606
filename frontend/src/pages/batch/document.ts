/**
 * The part of `analyze`'s answer that the page shows, as `operations/documents/result.py` has it.
 * Any operation may have written it: what has another shape is left out.
 */

export interface FoundColumn {
  name: string
  type: string
  unit: string | null
  nulls: number
  min: unknown
  max: unknown
}

export interface FoundTable {
  name: string
  rows: number
  page: number | null
  columns: FoundColumn[]
  sample: string[][]
}

export interface FoundDocument {
  kind: string
  title: string | null
  author: string | null
  encoding: string | null
  language: string | null
  pages: number | null
  words: number | null
  needs_ocr: boolean
  tables: FoundTable[]
  sheets: FoundTable[]
}

type Values = Record<string, unknown>

/** Return the document among an item's data; null: there is none. */
export function documentOf(data: Values): FoundDocument | null {
  const found = valuesOf(data.document)
  const text = valuesOf(found.text)
  if (typeof found.kind !== 'string') return null
  return {
    kind: found.kind,
    title: textOf(found.title),
    author: textOf(found.author),
    encoding: textOf(found.encoding),
    language: textOf(valuesOf(found.language).code),
    pages: numberOf(text.pages),
    words: numberOf(text.words),
    needs_ocr: found.needs_ocr === true,
    tables: tablesOf(found.tables),
    sheets: tablesOf(found.sheets),
  }
}

function tablesOf(found: unknown): FoundTable[] {
  return listOf(found).map(valuesOf).filter((table) => typeof table.name === 'string').map(tableOf)
}

function tableOf({ name, rows, page, columns, sample }: Values): FoundTable {
  return {
    name: String(name),
    rows: numberOf(rows) ?? 0,
    page: numberOf(page),
    columns: listOf(columns).map(valuesOf).map(columnOf),
    sample: listOf(sample).map((cells) => listOf(cells).map((cell) => (isSimple(cell) ? String(cell) : ''))),
  }
}

function columnOf({ name, type, unit, nulls, min, max }: Values): FoundColumn {
  return { name: textOf(name) ?? '', type: textOf(type) ?? '', unit: textOf(unit), nulls: numberOf(nulls) ?? 0, min, max }
}

const listOf = (found: unknown): unknown[] => (Array.isArray(found) ? found : [])
const textOf = (found: unknown): string | null => (typeof found === 'string' ? found : null)
const numberOf = (found: unknown): number | null => (typeof found === 'number' ? found : null)
const valuesOf = (found: unknown): Values => (typeof found === 'object' && found !== null ? (found as Values) : {})

export function isSimple(value: unknown): boolean {
  return ['string', 'number', 'boolean'].includes(typeof value)
}
