/** The text on the browser's tab. */
import { useEffect } from 'preact/hooks'
import { texts } from './texts'

export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title ? `${title} – ${texts.app.name}` : texts.app.name
  }, [title])
}
