/** Says on every page that an administrator has paused all work, or that nothing is started; on the queue's, that a clean-up waits for one. */
import type { ComponentChildren } from 'preact'
import { useEffect } from 'preact/hooks'
import { get } from './api/client'
import type { Queue } from './api/types'
import { Icon } from './components/icons'
import { useLoaded, useTicking } from './loading'
import { texts } from './texts'

const EVERY_MS = 15_000
const CHANGED = 'batchmill:queue'

/** Tell the frame that the queue was paused or goes on. */
export const queueChanged = (): boolean => window.dispatchEvent(new Event(CHANGED))

/** `onQueue`: on the page where it can be changed, which needs no link to itself. */
export function QueueNotice({ onQueue }: { onQueue: boolean }) {
  const { value, reload, refresh } = useLoaded((signal) => get<Queue>('/v1/queue', { signal }), [])
  useTicking(refresh, EVERY_MS)
  useEffect(() => {
    window.addEventListener(CHANGED, reload)
    return () => window.removeEventListener(CHANGED, reload)
  }, [reload])
  if (value?.standstill) return <Notice label={texts.queue.state}>{value.standstill}</Notice>
  if (!value?.paused) return onQueue && value?.cleanup_pause_reason ? <CleanupNotice reason={value.cleanup_pause_reason} /> : null
  return (
    <aside class="banner" aria-label={texts.queue.state}>
      <Icon name="pause" />
      <span>
        {texts.queue.pausedBecause} <bdi>{value.pause_reason}</bdi>
      </span>
      {!onQueue && <a href="/queue">{texts.app.queue}</a>}
    </aside>
  )
}

function CleanupNotice({ reason }: { reason: string }) {
  return (
    <Notice label={texts.queue.cleanup}>
      {texts.queue.cleanupPaused} <bdi>{reason}</bdi>
    </Notice>
  )
}

function Notice({ label, children }: { label: string; children: ComponentChildren }) {
  return (
    <aside class="banner" aria-label={label}>
      <Icon name="pause" />
      <span>{children}</span>
    </aside>
  )
}
