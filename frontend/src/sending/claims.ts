/** Tells other tabs which sendings this one goes on with, so that none of them takes it over. */

const NAME = 'batchmill.sending.'
const WHO = 'who?'
const ANSWERS_MS = 300

/** Hold a sending until this tab is closed or the returned function is called. */
export function claim(batchId: string): () => void {
  const channel = answering(batchId)
  let release = (): void => undefined
  const held = new Promise<void>((done) => (release = done))
  void globalThis.navigator?.locks?.request(NAME + batchId, () => held)
  return () => {
    channel.close()
    release()
  }
}

/** Return the batches whose sendings other tabs hold. */
export async function claimed(): Promise<Set<string>> {
  const locks = await globalThis.navigator?.locks?.query()
  if (!locks) return asked() // the page came without TLS from another machine
  return new Set(locks.held?.map((lock) => lock.name?.replace(NAME, '') ?? ''))
}

function answering(batchId: string): BroadcastChannel {
  const channel = new BroadcastChannel(NAME)
  channel.onmessage = ({ data }) => {
    if (data === WHO) channel.postMessage(batchId)
  }
  return channel
}

async function asked(): Promise<Set<string>> {
  const found = new Set<string>()
  const channel = new BroadcastChannel(NAME)
  channel.onmessage = ({ data }) => found.add(String(data))
  channel.postMessage(WHO)
  await new Promise((done) => setTimeout(done, ANSWERS_MS))
  channel.close()
  return found
}
