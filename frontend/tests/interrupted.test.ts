import { afterEach, describe, expect, test } from 'vitest'
import { claim, claimed } from '../src/sending/claims'
import { interrupted, keep, type Kept, type KeptFile } from '../src/sending/kept'
import { entriesOf, entryOf, passes, Sending } from '../src/sending/sending'
import { takeUp } from '../src/sending/sendings'
import { bePageOf } from './support/browser'
import { serve, type Served } from './support/server'

let server: Served | null = null
afterEach(async () => {
  await server?.stop()
  server = null
})

const file = (name: string, more: Partial<KeptFile> = {}): KeptFile => ({
  path: name, bytes: 10, modified: 1, url: `/v1/uploads/upl_${name}`, sent: true, adding: false, ...more,
})
const kept = (files: KeptFile[]): Kept => ({ batchId: 'bat_1', title: '', files, added: { files: 2, bytes: 20 } })
const takenUp = ({ batchId, title, ...left }: Kept): Sending =>
  new Sending(batchId, title, entriesOf({ batchId, title, ...left }), () => undefined, left.added)

/** A server that knows these uploads and no others, and takes each once. */
async function knowing(...known: string[]): Promise<Served> {
  const left = new Set(known.map((name) => `upl_${name}`))
  server = await serve((path, body) => {
    if (!path.endsWith('/items')) return {}
    const wanted = (JSON.parse(body) as { inputs: { upload_id: string }[] }).inputs.map((each) => each.upload_id)
    const gone = wanted.find((id) => !left.has(id))
    if (gone) return { status: 404, body: { detail: `There is no upload '${gone}'.`, code: 'not_found' } }
    for (const id of wanted) left.delete(id)
    return {}
  })
  bePageOf(server.origin)
  return server
}

describe('a sending that an earlier page left', () => {
  test('asks again for a file whose upload the server has forgotten', async () => {
    const { asked } = await knowing('a', 'c')
    const sending = takenUp(kept(['a', 'b', 'c'].map((name) => file(name))))
    await expect.poll(() => sending.entries.map((entry) => entry.state)).toEqual(['added', 'waiting', 'added'])
    expect(sending.missing.map(({ path, url }) => [path, url])).toEqual([['b', null]])
    expect(asked).not.toContain('POST /v1/batches/bat_1/close')
    sending.drop()
  })

  test('is done when the missing upload was being added as the page was closed', async () => {
    const { asked } = await knowing('a')
    const sending = takenUp(kept([file('a'), file('b', { adding: true })]))
    await expect.poll(() => sending.state).toBe('done')
    expect(asked.at(-1)).toBe('POST /v1/batches/bat_1/close')
  })

  test('counts what was added before, of which nothing else is kept', async () => {
    await knowing('a')
    const sending = takenUp(kept([file('a'), file('b', { url: null, sent: false })]))
    await expect.poll(() => sending.sentFiles).toBe(3)
    expect([sending.totalFiles, sending.sentBytes, sending.totalBytes]).toEqual([4, 30, 40])
    dispatchEvent(new Event('pagehide'))
    expect(await interrupted()).toEqual([])  // this very page goes on with it
    sending.drop()
  })
})

test('a list that has grown too long for the browser leaves no older one behind', async () => {
  await knowing()
  const shelf = bePageOf(server?.origin ?? '', { keepsCharacters: 400 })
  expect(keep(kept([file('a')]))).toBe(true)
  const picked = Array.from({ length: 9 }, (_, number) => ({ path: `${number}.jpg`, file: new File(['x'], '') }))
  const entries = picked.map((each) => ({ ...entryOf(each), file: null }))
  const sending = new Sending('bat_1', '', entries, () => undefined)
  expect(sending.survives).toBe(false)
  expect(shelf.keys()).toEqual([])
  sending.drop()
})

describe('what an earlier page left', () => {
  test('is taken up once, however often a page looks for it at the same time', async () => {
    const { asked, origin } = await knowing('a')
    bePageOf(origin)
    keep(kept([file('a')]))
    await Promise.all([takeUp(), takeUp()])
    await expect.poll(() => asked.at(-1)).toBe('POST /v1/batches/bat_1/close')
    expect(asked).toEqual(['POST /v1/batches/bat_1/items', 'POST /v1/batches/bat_1/close'])
    await expect.poll(() => window.onbeforeunload).toBeNull()
  })

  test('warns before it is closed where the browser keeps it no longer', async () => {
    const shelf = bePageOf((await knowing()).origin)
    keep(kept([file('a', { sent: false, url: null })]))
    shelf.most = 0
    await takeUp()
    await expect.poll(() => window.onbeforeunload).toBeTypeOf('function')
  })
})

test('a sending of another tab is left to it, also where the browser has no locks', async () => {
  bePageOf('http://127.0.0.1')
  const theirs = { ...kept([file('a')]), batchId: 'bat_2' }
  keep(theirs)
  const release = claim('bat_2')
  expect(await claimed()).toContain('bat_2')
  expect(await interrupted()).toEqual([])
  release()
  expect(await interrupted()).toEqual([theirs])
})

test.each([
  [401, true], [403, true], [429, true], [409, true], [423, true], [503, true], [400, false], [404, false], [413, false],
])('whether a refusal %d passes: %s', (status, wanted) => expect(passes(status)).toBe(wanted))
