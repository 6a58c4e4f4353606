/** An HTTP server for one test, which answers as it is told. */
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Answer {
  status?: number
  type?: string
  body?: unknown
  /** Whether it goes on until the other side ends it. */
  endless?: boolean
}

export interface Served {
  origin: string
  /** "GET /v1/queue", in the order in which they came. */
  asked: string[]
  /** How many endless answers are being read. */
  streams: () => number
  stop: () => Promise<unknown>
}

export async function serve(answer: (path: string, body: string) => Answer): Promise<Served> {
  const asked: string[] = []
  let streams = 0
  const server = createServer(async (request, response) => {
    asked.push(`${request.method} ${request.url}`)
    const { status = 200, type = 'application/json', body = {}, endless = false } = answer(request.url ?? '', await textOf(request))
    response.writeHead(status, { 'Content-Type': type })
    if (!endless) return response.end(type === 'application/json' ? JSON.stringify(body) : body)
    streams += 1
    response.on('close', () => (streams -= 1))
    return response.write(': here\n\n')
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  const stop = () => new Promise((done) => (server.close(done), server.closeAllConnections()))
  return { origin: `http://127.0.0.1:${port}`, asked, streams: () => streams, stop }
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const part of request) text += part
  return text
}
