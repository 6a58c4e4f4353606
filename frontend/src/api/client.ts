/** Calls `/v1`; every failure becomes a `ProblemError` whose message is a sentence for people. */
import { texts } from '../texts'
import type { Problem } from './types'

export type Query = Record<string, string | number | null | undefined>

export interface Asked {
  query?: Query
  signal?: AbortSignal
  /** Sent as JSON. */
  body?: unknown
}

export class ProblemError extends Error {
  constructor(
    message: string,
    readonly code: string,
    /** 0: no answer at all. */
    readonly status: number,
    readonly remedy: string = '',
  ) {
    super(message)
  }

  /** Whether the server did not answer, so that asking again later may help. */
  get isOutage(): boolean {
    return this.status === 0 || this.status >= 500
  }
}

export const get = <T>(path: string, asked: Asked = {}): Promise<T> => call('GET', path, asked)
export const post = <T>(path: string, asked: Asked = {}): Promise<T> => call('POST', path, asked)
export const patch = <T>(path: string, asked: Asked = {}): Promise<T> => call('PATCH', path, asked)
export const remove = (path: string, asked: Asked = {}): Promise<void> =>
  call('DELETE', path, asked)

/** Return a path with its query; what is null or empty is left out. */
export function address(path: string, query: Query = {}): string {
  const given = Object.entries(query).filter(([, value]) => value != null && value !== '')
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString()
  return text ? `${path}?${text}` : path
}

/** Return where an output lies, on the very server that this page came from. */
export function outputAddress(itemId: string, name: string): string {
  return `/v1/items/${itemId}/outputs/${name.split('/').map(encodeURIComponent).join('/')}`
}

const SESSION = '/v1/session'
const REFUSED = 'batchmill:refused'

/** Call back when the server no longer takes us for whom it took us; returns what ends that. */
export function onRefused(act: () => void): () => void {
  window.addEventListener(REFUSED, act)
  return () => window.removeEventListener(REFUSED, act)
}

async function call<T>(method: string, path: string, asked: Asked): Promise<T> {
  const init: RequestInit = { method, signal: asked.signal ?? null }
  if (asked.body !== undefined) {
    init.body = JSON.stringify(asked.body)
    init.headers = { 'Content-Type': 'application/json' }
  }
  const response = await send(address(path, asked.query), init)
  if (response.status === 401 && path !== SESSION) window.dispatchEvent(new Event(REFUSED))
  if (!response.ok) throw await problemOf(response)
  return (response.status === 204 ? undefined : await response.json().catch(notOurs)) as T
}

function notOurs(reason: unknown): never {
  if (reason instanceof SyntaxError) throw new ProblemError(texts.app.notOurs, 'strange_answer', 502)
  throw reason
}

async function send(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, init)
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new ProblemError(texts.app.unreachable, 'unreachable', 0)
  }
}

/** Read an answer of RFC 9457; anything else, as a proxy would send it, gets a plain sentence. */
export async function problemOf(response: Response): Promise<ProblemError> {
  const problem = (await response.json().catch(() => null)) as Partial<Problem> | null
  const message = problem?.detail ?? texts.app.strangeAnswer(response.status)
  return new ProblemError(message, problem?.code ?? 'unknown', response.status, problem?.remedy)
}
