/** Which page an address means, and going to another without loading the document again. */
import { useEffect, useState } from 'preact/hooks'

export type PageName = 'home' | 'batch' | 'queue' | 'keys' | 'settings' | 'signIn' | 'unknown'

export interface Route {
  page: PageName
  /** Of the batch, on its page. */
  id: string
  query: URLSearchParams
}

const PAGES: Record<string, PageName> = {
  '/': 'home',
  '/queue': 'queue',
  '/keys': 'keys',
  '/settings': 'settings',
  '/sign-in': 'signIn',
}
const MOVED = 'batchmill:moved'

export function routeOf(path: string, search = ''): Route {
  const query = new URLSearchParams(search)
  const batch = /^\/batches\/([a-z0-9_]+)\/?$/.exec(path)
  if (batch) return { page: 'batch', id: batch[1] ?? '', query }
  const plain = path.length > 1 ? path.replace(/\/$/, '') : path
  return { page: PAGES[plain] ?? 'unknown', id: '', query }
}

export function navigate(href: string, { replace = false } = {}): void {
  if (replace) history.replaceState(null, '', href)
  else history.pushState(null, '', href)
  window.dispatchEvent(new Event(MOVED))
  if (!replace) toTheTop()
}

/** Begin where a new document would begin, for the eye and for the keyboard. */
function toTheTop(): void {
  window.scrollTo(0, 0)
  document.getElementById('main')?.focus({ preventScroll: true })
}

export function useRoute(): Route {
  const here = () => routeOf(location.pathname, location.search)
  const [route, setRoute] = useState(here)
  useEffect(() => {
    const update = () => setRoute(here())
    window.addEventListener('popstate', update)
    window.addEventListener(MOVED, update)
    return () => {
      window.removeEventListener('popstate', update)
      window.removeEventListener(MOVED, update)
    }
  }, [])
  return route
}

/** Handle a click on a link of ours; clicks that ask for a new tab are the browser's. */
export function onLinkClick(event: MouseEvent): void {
  const link = (event.target as Element).closest('a')
  const plain = event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
  if (!link || !plain || event.defaultPrevented || link.target || link.hasAttribute('download')) return
  if (link.getAttribute('href')?.startsWith('#')) return // a place on this page
  if (link.origin !== location.origin || routeOf(link.pathname).page === 'unknown') return
  event.preventDefault()
  navigate(link.pathname + link.search)
}
