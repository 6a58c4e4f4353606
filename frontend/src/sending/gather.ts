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

/** Read what was dropped, folders through and through. Entries must be asked for before any wait. */
export async function fromDrop(dropped: DataTransfer): Promise<Picked[]> {
  const entries = Array.from(dropped.items, (item) => item.webkitGetAsEntry?.() ?? null)
  if (entries.every((entry) => entry === null)) return fromList(dropped.files)
  const found: Picked[] = []
  for (const entry of entries) if (entry) await add(found, entry)
  return found.filter(isMeant)
}

async function add(found: Picked[], entry: FileSystemEntry): Promise<void> {
  if (entry.isFile) {
    const file = await new Promise<File>((done, failed) => (entry as FileSystemFileEntry).file(done, failed))
    found.push({ path: entry.fullPath.replace(/^\//, ''), file })
    return
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader()
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((done, failed) => reader.readEntries(done, failed))
    if (some.length === 0) return // browsers hand out a hundred at a time
    for (const each of some) await add(found, each)
  }
}

const isMeant = ({ path }: Picked): boolean => !JUNK.test(path)
