import { describe, expect, test } from 'vitest'
import type { Batch } from '../src/api/types'
import { titleOf } from '../src/pages/batch/batch_page'
import { documentOf } from '../src/pages/batch/document'
import { withNews } from '../src/pages/batch/news'
import { usedText } from '../src/pages/keys/used'

describe('news of a batch', () => {
  const batch = (revision: number, status: Batch['status'], position: number | null) =>
    ({ revision, status, progress: { position } }) as Batch
  const waiting = batch(3, 'queued', 7)

  test('that do not tell its place in the queue leave it the old one, until it starts', () => {
    expect(withNews(waiting, batch(3, 'queued', null)).progress.position).toBe(7)
    expect(withNews(waiting, batch(4, 'queued', 6)).progress.position).toBe(6)
    expect(withNews(waiting, batch(4, 'processing', null)).progress.position).toBeNull()
  })

  test('that are older than what is known are dropped', () => {
    expect(withNews(waiting, batch(2, 'uploading', null))).toBe(waiting)
  })
})

test('a batch is called by its name, or by what is done to how many files', () => {
  const batch = (name: string | null, ...steps: string[]) =>
    ({ name, pipeline: { steps: steps.map((use) => ({ use })) }, counts: { total: 2 } }) as Batch
  expect([batch('Fair', 'resize'), batch(null, 'resize', 'convert'), batch(null)].map(titleOf)).toEqual(['Fair', 'resize → convert, 2 files', 'A new batch'])
})

describe('a document in data that any operation may have written', () => {
  const table = { name: 'prices', rows: 2, page: null, columns: [{ name: 'tea', type: 'decimal', unit: null, nulls: 0, min: 1, max: 2 }], sample: [['1', '2']] }

  test('is read as it is', () => {
    const found = documentOf({ document: { kind: 'csv', text: { pages: 3, words: 9 }, language: { code: 'en' }, tables: [table], sheets: [] } })
    expect(found).toMatchObject({ kind: 'csv', pages: 3, words: 9, language: 'en', title: null, tables: [table], sheets: [] })
  })

  test.each([null, 7, 'text', {}, { kind: 3 }])('is none where it is %j', (document) =>
    expect(documentOf({ document })).toBeNull())

  test('loses the parts that have another shape', () => {
    const tables = [null, 'none', { name: 'a' }, { name: 'b', rows: '2', columns: 'x', sample: [null, [{}, 1]] }]
    const found = documentOf({ document: { kind: 'pdf', text: 'words', language: null, title: {}, tables, sheets: 5 } })
    expect(found).toMatchObject({ title: null, language: null, words: null, sheets: [] })
    expect(found?.tables).toEqual([
      { name: 'a', rows: 0, page: null, columns: [], sample: [] },
      { name: 'b', rows: 0, page: null, columns: [], sample: [[], ['', '1']] },
    ])
  })
})

test('the use of a key is told no more exactly than it is known', () => {
  const at = (minutes: number) => usedText('2026-01-01T00:00:00Z', Date.parse('2026-01-01T00:00:00Z') + minutes * 60_000)
  expect([at(1), at(59), at(60)]).toEqual(['Within the hour', 'Within the hour', '1 h ago'])
})
