/** Something read from the server: being read, there, or failed with a way to try again. */
import { useCallback, useEffect, useRef, useState } from 'preact/hooks'

export interface Loaded<T> {
  value: T | null
  error: unknown
  /** Read anew, whatever is being read. */
  reload: () => void
  /** Read again unless an answer is still awaited: a slow server must not be asked in vain for ever. */
  refresh: () => void
}

/** Read at once, and again when `reload` is called or an input changes; late answers are dropped. */
export function useLoaded<T>(read: (signal: AbortSignal) => Promise<T>, inputs: unknown[]): Loaded<T> {
  const [value, setValue] = useState<T | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [turn, setTurn] = useState(0)
  const reading = useRef(false)
  useEffect(() => {
    const aborting = new AbortController()
    reading.current = true
    read(aborting.signal)
      .then((found) => {
        setValue(() => found)
        setError(null)
      })
      .catch((reason: unknown) => {
        if (!aborting.signal.aborted) setError(reason)
      })
      .finally(() => {
        if (!aborting.signal.aborted) reading.current = false
      })
    return () => aborting.abort()
  }, [...inputs, turn])
  const reload = useCallback(() => setTurn((number) => number + 1), [])
  const refresh = useCallback(() => {
    if (!reading.current) reload()
  }, [reload])
  return { value, error, reload, refresh }
}

/** Do something regularly while the page can be seen. */
export function useTicking(act: () => void, everyMs: number): void {
  useEffect(() => {
    const timer = setInterval(() => document.hidden || act(), everyMs)
    return () => clearInterval(timer)
  }, [act, everyMs])
}
