/** Reads server-sent events by fetch, which unlike EventSource can send an API key. */

export interface ServerEvent {
  event: string
  data: string
}

/** Yield events until the server ends the stream. Throws when it refuses, or the line breaks. */
export async function* events(url: string, init: RequestInit): AsyncGenerator<ServerEvent> {
  const response = await fetch(url, init)
  if (!response.ok || !response.body) throw new Error(`no stream: ${response.status}`)
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    text += value
    const messages = text.split('\n\n')
    text = messages.pop() ?? ''
    yield* messages.map(parsed).filter((each) => each.data !== '')
  }
}

function parsed(message: string): ServerEvent {
  const lines = message.split('\n').map((line) => line.split(/: ?(.*)/s))
  const of = (name: string) => lines.filter(([field]) => field === name).map(([, value]) => value ?? '')
  return { event: of('event')[0] ?? 'message', data: of('data').join('\n') }
}
