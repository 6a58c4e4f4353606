import { describe, expect, test } from 'vitest'
import { suggested } from '../src/pages/home/choice'
import { fieldsOf, rangeOf } from '../src/pages/home/schema'
import { place } from '../src/sdk/place'
import { recipeOf } from '../src/sdk/browser'
import { fromList } from '../src/sending/gather'
import { Pace } from '../src/sending/pace'
import type { Preset } from '../src/api/types'

const file = (name: string) => new File(['x'], name)
const preset = (name: string): Preset => ({ name, summary: '', pipeline: { steps: [] }, options: {} })

test('what systems leave in folders is not sent', () => {
  const names = ['a.jpg', '.DS_Store', 'Thumbs.db', '._a.jpg', 'b.pdf', 'desktop.ini']
  expect(fromList(names.map(file)).map(({ path }) => path)).toEqual(['a.jpg', 'b.pdf'])
})

describe('the preset that stands chosen', () => {
  const presets = ['analyze', 'compress', 'web'].map(preset)
  const picked = (...names: string[]) => names.map((name) => ({ path: name, file: file(name) }))

  test.each([
    [['a.jpg', 'b.jpg'], null, 'web'], [['a.pdf', 'b.xlsx', 'c.jpg'], 'compress', 'analyze'],
    [['a.jpg'], 'compress', 'compress'], [['a.jpg'], 'gone', 'web'], [['a.jpg'], 'analyze', 'web'],
  ])('for %j after %s is %s', (names, last, wanted) =>
    expect(suggested(picked(...names), presets, last)).toBe(wanted))
})

describe('options of a schema', () => {
  const [quality, width, share, flip, fit] = fieldsOf({
    properties: {
      quality: { anyOf: [{ type: 'integer', minimum: 1, maximum: 100 }, { type: 'null' }], description: 'How good' },
      width: { type: 'integer', minimum: 1, description: 'Width of the box in px.' },
      padding_pct: { type: 'number', maximum: 200 },
      flip_it: { type: 'boolean' },
      fit: { enum: ['inside', 'cover'], type: 'string' },
    },
  })

  test('have a kind, a label, a unit, a range', () => {
    expect(quality).toMatchObject({ kind: 'number', label: 'Quality', whole: true, optional: true, hint: 'How good' })
    expect(width).toMatchObject({ unit: 'px', optional: false })
    expect(share).toMatchObject({ label: 'Padding', unit: '%', whole: false })
    expect(flip).toMatchObject({ kind: 'switch', label: 'Flip it' })
    expect(fit).toMatchObject({ kind: 'choice', choices: ['inside', 'cover'] })
    expect([quality, width, share, flip].map((each) => each && rangeOf(each))).toEqual(['1–100', '≥ 1', '≤ 200', ''])
  })
})

test('a pace is that of the last seconds', () => {
  const pace = new Pace()
  pace.note(1_000_000, 0)
  expect(pace.bytesPerSecond(100)).toBeNull()
  pace.note(1_000_000, 1_000)
  expect(pace.bytesPerSecond(2_000)).toBe(1_000_000)
  expect(pace.bytesPerSecond(20_000)).toBeNull()
})

test('a cut keeps the part that was asked for', () => {
  const box = { width: 100, height: 100, fit: 'cover', enlarge: false } as const
  const size = { width: 400, height: 200 }
  expect(place(size, { ...box, position: 'centre' })).toMatchObject({ left: -50, top: 0, final: { width: 100, height: 100 } })
  expect(place(size, { ...box, position: 'left' }).left).toBe(0)
  expect(place(size, { ...box, position: 'bottom-right' }).left).toBe(-100)
})

test('what a browser cannot follow is named', () => {
  expect(recipeOf('web')).toMatchObject({ format: 'webp', quality: 80 })
  expect(recipeOf({ steps: [{ use: 'resize', with: { position: 'entropy' } }] })).toMatchObject({ warnings: [expect.any(String)] })
  expect(recipeOf('constructor')).toContain('constructor')
  expect(recipeOf({ steps: [{ use: 'toString' }] })).toContain('toString')
})
