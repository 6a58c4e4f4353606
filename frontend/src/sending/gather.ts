/** Files that a person drops, pastes or chooses, with their places in the folders that they came in. */

export interface Picked {
  /** With folders, between slashes. */
  path: string
  file: File
}

/** Files that systems leave in folders; nobody means to send them. */
const JUNK = /(^|\/)(\.DS_Store|Thumbs\.db|desktop\.ini|\.[^/]+|__MACOSX(\/.*)?)$/i

export function fromList(files: Iterable<File>): Picked[] {
  return Array.from(files, (file) => ({ path: file.webkitRelativePath || file.name, file })).filter(isMeant)
}

export interface Gathered {
  picked: Picked[]
  /** Files and folders that could not be read. */
  unread: number
}

/** Read what was dropped, folders through and through. Entries must be asked for before any wait. */
export async function fromDrop(dropped: DataTransfer): Promise<Gathered> {
  const entries = Array.from(dropped.items, (item) => item.webkitGetAsEntry?.() ?? null)
  if (entries.every((entry) => entry === null)) return { picked: fromList(dropped.files), unread: 0 }
  const found: Gathered = { picked: [], unread: 0 }
  for (const entry of entries) if (entry) await add(found, entry)
  return { picked: found.picked.filter(isMeant), unread: found.unread }
}

/** The same file chosen twice is sent once. */
export function merged(before: Picked[], more: Picked[]): Picked[] {
  const name = ({ path, file }: Picked) => `${file.size} ${file.lastModified} ${path}`
  const known = new Set(before.map(name))
  return [...before, ...more.filter((each) => !known.has(name(each)))]
}

export function without(before: Picked[], some: Picked[]): Picked[] {
  const left = new Set(some)
  return before.filter((each) => !left.has(each))
}

/** One that cannot be read, as for want of rights, leaves the others. */
async function add(found: Gathered, entry: FileSystemEntry): Promise<void> {
  try {
    if (entry.isFile) found.picked.push({ path: entry.fullPath.replace(/^\//, ''), file: await fileOf(entry as FileSystemFileEntry) })
    else for await (const each of within(entry as FileSystemDirectoryEntry)) await add(found, each)
  } catch {
    found.unread += 1
  }
}

const fileOf = (entry: FileSystemFileEntry): Promise<File> => new Promise((done, failed) => entry.file(done, failed))

async function* within(folder: FileSystemDirectoryEntry): AsyncGenerator<FileSystemEntry> {
  const reader = folder.createReader()
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((done, failed) => reader.readEntries(done, failed))
    if (some.length === 0) return // browsers hand out a hundred at a time
    yield* some
  }
}

const isMeant = ({ path }: Picked): boolean => !JUNK.test(path)
