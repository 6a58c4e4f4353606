/** Which preset stands chosen before anybody chose: what fits the files, or what was taken last. */
import type { Preset } from '../../api/types'
import type { Picked } from '../../sending/gather'

const KEY = 'batchmill.preset'
const DOCUMENT = /\.(pdf|xlsx?|xlsm|xlsb|ods|csv|tsv|txt)$/i
const FOR_PICTURES = 'web'
const FOR_DOCUMENTS = 'analyze'

export function suggested(picked: Picked[], presets: Preset[], last: string | null = remembered()): string {
  const known = (name: string | null) => presets.find((preset) => preset.name === name)?.name
  const documents = picked.filter(({ path }) => DOCUMENT.test(path)).length
  if (documents * 2 > picked.length) return known(FOR_DOCUMENTS) ?? presets[0]?.name ?? ''
  const usable = last === FOR_DOCUMENTS ? null : last
  return known(usable) ?? known(FOR_PICTURES) ?? presets[0]?.name ?? ''
}

export function remember(name: string): void {
  try {
    localStorage.setItem(KEY, name)
  } catch {
    // then the next visit starts with what fits
  }
}

function remembered(): string | null {
  try {
    return localStorage.getItem(KEY)
  } catch {
    return null
  }
}
