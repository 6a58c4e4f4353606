/** Puts what was heard of a batch in the place of what was known. */
import type { Batch } from '../../api/types'

/**
 * Late answers of older questions do not turn the page back. The stream does not tell the place in
 * the queue, which changes with other batches: while this one waits, the last one told is kept.
 */
export function withNews(old: Batch, news: Batch): Batch {
  if (news.revision < old.revision) return old
  if (news.status !== 'queued' || news.progress.position !== null) return news
  return { ...news, progress: { ...news.progress, position: old.progress.position } }
}
