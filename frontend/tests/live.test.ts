import { afterEach, beforeEach, expect, test } from 'vitest'
import { get, onRefused } from '../src/api/client'
import { follow, type LiveState } from '../src/api/live'
import type { Batch } from '../src/api/types'
import { bePageOf, see } from './support/browser'
import { serve, type Answer, type Served } from './support/server'

const SOON = { polling: 20, calm: 20, hidden: 20 }
let server: Served
let answers: (path: string) => Answer
let leave = (): void => undefined
let told: { batches: Batch[]; deleted: string[]; states: LiveState[] }

beforeEach(async () => {
  answers = (path) => (path.startsWith('/v1/events') ? { type: 'text/event-stream', endless: true } : { body: { id: 'bat_1' } })
  server = await serve((path) => answers(path))
  bePageOf(server.origin)
  told = { batches: [], deleted: [], states: [] }
})

afterEach(async () => {
  leave()
  await server.stop()
})

function watch(calm: boolean, pauses = SOON): void {
  leave = follow(['bat_1'], calm, {
    onBatch: (batch) => told.batches.push(batch),
    onState: (state) => told.states.push(state),
    onDeleted: (id) => told.deleted.push(id),
  }, pauses)
}

test('a tab that nobody sees holds no stream, and hears of its batch all the same', async () => {
  watch(false)
  await expect.poll(server.streams).toBe(1)
  see(false)
  await expect.poll(server.streams).toBe(0)
  await expect.poll(() => told.batches.length).toBeGreaterThan(1)
  see(true)
  await expect.poll(server.streams).toBe(1)
  leave()
  await expect.poll(server.streams).toBe(0)
})

test('a batch that has ended is asked for without a stream', async () => {
  watch(true)
  await expect.poll(() => told.batches.length).toBeGreaterThan(1)
  expect(new Set(server.asked)).toEqual(new Set(['GET /v1/batches/bat_1']))
})

test('a server that does not know us any more is not said to be silent', async () => {
  let refusals = 0
  const forget = onRefused(() => (refusals += 1))
  answers = () => ({ status: 401, body: { detail: 'Who are you?' } })
  watch(false)
  await expect.poll(() => refusals).toBeGreaterThan(1)
  expect(told.states).toEqual(['connecting'])
  forget()
})

test('a batch that was given to somebody else is gone', async () => {
  answers = () => ({ status: 403, body: { detail: 'Not yours.' } })
  watch(true)
  await expect.poll(() => told.deleted).toContain('bat_1')
})

test('a page of somebody in between is not taken for an answer', async () => {
  answers = () => ({ type: 'text/html', body: '<h1>Sign in to the guest network</h1>' })
  await expect(get('/v1/queue')).rejects.toThrow('Something else answered in place of the server')
})
