import { describe, expect, test } from 'vitest'
import type { Item, Page } from '../src/api/types'
import { EVERYTHING, PAGE_ROWS, PAGES_KEPT, Rows, type Ask, type Wanted } from '../src/pages/batch/rows'

const item = (position: number, status = 'completed') => ({ id: `itm_${position}`, position, status }) as Item

/** A server with items at these positions; its cursor is the position behind which a page goes on. */
class Server {
  asked: Ask[] = []
  constructor(public positions: number[]) {}

  read = async (ask: Ask): Promise<Page<Item>> => {
    this.asked.push(ask)
    const from = ask.start ?? (ask.cursor === null ? 0 : Number(ask.cursor) + 1)
    const left = this.positions.filter((position) => position >= from)
    const data = left.slice(0, PAGE_ROWS).map((position) => item(position))
    const more = left.length > PAGE_ROWS
    return { data, has_more: more, next_cursor: more ? String(data.at(-1)?.position) : null }
  }
}

const settled = () => new Promise((resolve) => setTimeout(resolve))
const numbers = (length: number, step = 1) => Array.from({ length }, (_, n) => n * step)
const FAILED: Wanted = { ...EVERYTHING, status: 'failed' }

function open(server: Server, wanted = EVERYTHING, total = server.positions.length) {
  return new Rows(wanted, total, server.read, () => undefined)
}

describe('the whole list', () => {
  test('any row can be looked at without reading those before it', async () => {
    const server = new Server(numbers(1_000_000))
    const rows = open(server)
    rows.look(734_010, 734_030)
    await settled()
    expect(rows.length).toBe(1_000_000)
    expect(rows.at(734_020)?.position).toBe(734_020)
    expect(server.asked.map((ask) => ask.start)).toEqual([734_000])
  })

  test('memory stays bounded however far one goes', async () => {
    const rows = open(new Server(numbers(100_000)))
    for (let row = 0; row < 100_000; row += 997) {
      rows.look(row, Math.min(row + 20, 99_999))
      await settled()
      expect(rows.at(row)?.position).toBe(row)
      expect(rows.size).toBeLessThanOrEqual((PAGES_KEPT + 1) * PAGE_ROWS)
    }
  })

  test('a page is asked for once, and again when it may have changed', async () => {
    const server = new Server(numbers(300))
    const rows = open(server)
    for (const _ of numbers(5)) rows.look(0, 20)
    await settled()
    expect(server.asked.length).toBe(1)
    rows.refresh(300)
    await settled()
    expect(server.asked.length).toBe(2)
  })

  test('files that are added can be scrolled to', async () => {
    const server = new Server(numbers(10))
    const rows = open(server)
    rows.look(0, 9)
    await settled()
    server.positions = numbers(250)
    rows.refresh(250)
    rows.look(200, 220)
    await settled()
    expect(rows.length).toBe(250)
    expect(rows.at(210)?.position).toBe(210)
  })

  test('what an event tells is seen at once', async () => {
    const rows = open(new Server(numbers(10)))
    rows.look(0, 9)
    await settled()
    rows.put({ id: 'itm_3', batch_id: 'b', position: 3, name: '', status: 'failed', progress: 1, attempts: 2, error: null })
    expect(rows.at(3)).toMatchObject({ status: 'failed', attempts: 2, position: 3 })
  })

  test('news of single files read no page: the batch tells when to', async () => {
    const server = new Server(numbers(10))
    const rows = open(server)
    rows.look(0, 9)
    await settled()
    rows.put({ id: 'itm_3', batch_id: 'b', position: 3, name: '', status: 'failed', progress: 1, attempts: 2, error: null })
    rows.look(0, 9)
    await settled()
    expect(server.asked.length).toBe(1)
  })
})

describe('a filtered list', () => {
  test('it grows page by page and then knows its end', async () => {
    const rows = open(new Server(numbers(250, 7)), FAILED)
    for (let row = 0; row < 250; row += 10) {
      rows.look(row, row + 9)
      await settled()
      expect(rows.at(row)?.position).toBe(row * 7)
    }
    expect(rows.length).toBe(250)
  })

  test('one can come back from afar', async () => {
    const rows = open(new Server(numbers(5_000, 3)), FAILED)
    for (let row = 0; row < 5_000; row += 50) {
      rows.look(row, row + 49)
      await settled()
    }
    rows.look(0, 20)
    await settled()
    expect(rows.at(5)?.position).toBe(15)
    expect(rows.size).toBeLessThanOrEqual((PAGES_KEPT + 1) * PAGE_ROWS)
  })

  test('it shrinks when items leave it, and grows when others come', async () => {
    const server = new Server(numbers(250))
    const rows = open(server, FAILED)
    for (const row of [0, 100, 200]) {
      rows.look(row, row + 20)
      await settled()
    }
    server.positions = numbers(30)
    rows.look(0, 20)
    rows.refresh(250)
    await settled()
    expect(rows.length).toBe(30)
    server.positions = numbers(150)
    rows.refresh(250)
    await settled()
    expect(rows.length).toBeGreaterThan(100)
    server.positions = []
    rows.refresh(250)
    await settled()
    expect(rows.isEmpty).toBe(true)
  })
})

test('a page that could not be read is told of, and asked for again by itself', async () => {
  const server = new Server(numbers(10))
  let away = true
  const problems: unknown[] = []
  const read = (ask: Ask) => (away ? Promise.reject(new Error('away')) : server.read(ask))
  const rows = new Rows(EVERYTHING, 10, read, (error) => error && problems.push(error), 1)
  rows.look(0, 9)
  await settled()
  expect(problems[0]).toEqual(new Error('away'))
  expect(rows.at(0)).toBeUndefined()
  away = false
  await expect.poll(() => rows.at(0)?.position).toBe(0)
})

test('however often one looks at a page that could not be read, it is not asked for at once', async () => {
  let asked = 0
  const read = () => {
    asked += 1
    return Promise.reject(new Error('away'))
  }
  const rows = new Rows(EVERYTHING, 10, read, () => asked < 50 && rows.look(0, 9))
  rows.look(0, 9)
  for (const _ of numbers(5)) {
    rows.refresh(10)
    await settled()
  }
  rows.close()
  expect(asked).toBe(1)
})

test('nothing is told after the page was left', async () => {
  let told = 0
  const rows = new Rows(EVERYTHING, 10, new Server(numbers(10)).read, () => { told += 1 })
  rows.look(0, 9)
  rows.close()
  await settled()
  expect(told).toBe(0)
})
