import { expect, test } from 'vitest'
import type * as Promised from '../public/batchmill'
import { Batchmill, BatchmillError } from '../src/sdk'

/** Types are checked by `tsc`: what `batchmill.d.ts` promises is what the module is. */
const promised: Pick<typeof Promised, 'Batchmill'> & { error: new (...args: never[]) => Promised.BatchmillError } = {
  Batchmill,
  error: BatchmillError,
}

test('no files are no batch', async () => {
  const mill = new promised.Batchmill({ server: 'http://127.0.0.1:9/' })
  await expect(mill.process([], { pipeline: 'web' })).rejects.toMatchObject({ code: 'empty_batch' })
})

test('an address where nobody listens is not available', async () => {
  expect(await new Batchmill({ server: 'http://127.0.0.1:9' }).isAvailable()).toBe(false)
})
