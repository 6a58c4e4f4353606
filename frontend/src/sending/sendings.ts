/** All sendings of this page: they go on while people look at other pages of it. */
import { useEffect, useState } from 'preact/hooks'
import { texts } from '../texts'
import type { Picked } from './gather'
import { interrupted } from './kept'
import { entriesOf, entryOf, Sending, type Order } from './sending'

const EVENT = 'batchmill:sending'
const TELL_MS = 100
let sendings: Sending[] = []
let told = false

export async function send(picked: Picked[], order: Order): Promise<Sending> {
  const batch = await Sending.open(order)
  const title = batch.name ?? texts.items(picked.length)
  const sending = new Sending(batch.id, title, picked.map(entryOf), tell)
  sendings = [sending, ...sendings]
  tell()
  return sending
}

/** Take up what an earlier page left; it waits for its files to be chosen again. */
export async function takeUp(): Promise<void> {
  const left = await interrupted()
  const known = new Set(sendings.map((sending) => sending.batchId))
  const taken = left.filter((kept) => !known.has(kept.batchId))
  sendings = [...sendings, ...taken.map((kept) => new Sending(kept.batchId, kept.title, entriesOf(kept), tell, kept.added))]
  tell()
}

/** Return the sendings that are not done, anew whenever one changes. */
export function useSendings(): readonly Sending[] {
  const [, turn] = useState(0)
  useEffect(() => {
    const update = () => turn((number) => number + 1)
    window.addEventListener(EVENT, update)
    return () => window.removeEventListener(EVENT, update)
  }, [])
  return sendings
}

/** Many small changes are told as one. */
function tell(): void {
  if (told) return
  told = true
  setTimeout(() => {
    told = false
    sendings = sendings.filter((sending) => sending.state !== 'done')
    window.onbeforeunload = sendings.some((sending) => sending.goesOn || !sending.survives) ? warn : null
    window.dispatchEvent(new Event(EVENT))
  }, TELL_MS)
}

const warn = (event: BeforeUnloadEvent): void => event.preventDefault()
