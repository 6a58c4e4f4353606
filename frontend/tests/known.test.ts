import { expect, test } from 'vitest'
import type { Batch, Page } from '../src/api/types'
import { newestFirst, withAll, withNewest, type Known } from '../src/pages/home/known'

const batch = (id: string, revision = 1) => ({ id, revision }) as Batch
const page = (ids: string[], next: string | null = null): Page<Batch> => ({ data: ids.map((id) => batch(id)), has_more: next !== null, next_cursor: next })
const ids = (known: Known) => newestFirst(known).map(({ id }) => id).join('')
const all = withAll(new Map(), [...'abcdef'].map((id) => batch(id)))

test('a batch that was removed leaves the list, those beyond it stay', () => {
  expect(ids(withNewest(all, page(['f', 'd'], 'more')))).toBe('fdcba')
  expect(ids(withNewest(all, page(['f', 'd'])))).toBe('fd')
  expect(ids(withNewest(all, page([])))).toBe('')
})

test('a new batch comes first', () => expect(ids(withNewest(all, page(['g', 'f'], 'more')))).toBe('gfedcba'))

test('a late answer does not turn a batch back', () => {
  const newer = withAll(all, [batch('a', 5)])
  expect(withNewest(newer, page([...'fedcba'])).get('a')?.revision).toBe(5)
})
