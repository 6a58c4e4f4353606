/** The part of `analyze`'s answer that the page shows, as `operations/documents/result.py` has it. */

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
  language: { code: string } | null
  text: { pages: number | null; words: number | null } | null
  needs_ocr: boolean
  tables: FoundTable[]
  sheets: FoundTable[]
}

/** Return the document among an item's data; null: there is none of this shape. */
export function documentOf(data: Record<string, unknown>): FoundDocument | null {
  const found = data.document as Partial<FoundDocument> | undefined
  const isOne = typeof found?.kind === 'string' && Array.isArray(found.tables) && Array.isArray(found.sheets)
  return isOne ? (found as FoundDocument) : null
}
