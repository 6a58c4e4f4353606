import { expect, test } from 'vitest'
import { fromDrop, merged, without } from '../src/sending/gather'

type Entry = Partial<FileSystemEntry>

const readable = (path: string): Entry => ({ isFile: true, fullPath: path, file: (done: (file: File) => void) => done(new File(['x'], path)) }) as Entry
const locked = (path: string): Entry => ({ isFile: true, fullPath: path, file: (_: unknown, failed: (why: Error) => void) => failed(new Error('no')) }) as Entry

function folder(path: string, inside: Entry[], breaks = false): Entry {
  const left = [...inside]
  const readEntries = (done: (some: Entry[]) => void, failed: (why: Error) => void) =>
    left.length === 0 && breaks ? failed(new Error('no')) : done(left.splice(0, 2))
  return { isFile: false, fullPath: path, createReader: () => ({ readEntries }) } as Entry
}

const dropped = (...entries: Entry[]) => ({ items: entries.map((entry) => ({ webkitGetAsEntry: () => entry })) }) as unknown as DataTransfer

test('what cannot be read is counted, and the rest is taken', async () => {
  const inner = folder('/a/b', [readable('/a/b/4.jpg')], true)
  const outer = folder('/a', [readable('/a/1.jpg'), locked('/a/2.jpg'), readable('/a/3.jpg'), inner])
  const { picked, unread } = await fromDrop(dropped(outer, readable('/5.jpg')))
  expect(picked.map(({ path }) => path)).toEqual(['a/1.jpg', 'a/3.jpg', 'a/b/4.jpg', '5.jpg'])
  expect(unread).toBe(2)
})

test('files that are added while others are being sent stay', async () => {
  const [one, two] = (await fromDrop(dropped(readable('/1.jpg'), readable('/2.jpg')))).picked
  if (!one || !two) throw new Error('nothing was picked')
  expect(without(merged([one], [two]), [one])).toEqual([two])
  expect(merged([one], [one, two])).toEqual([one, two])
})
