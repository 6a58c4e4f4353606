/** Addresses that are told when a batch has ended, and what became of each notice. */
import { useState } from 'preact/hooks'
import { get, post, remove } from '../../api/client'
import type { Listing, NewWebhook, Page, Webhook, WebhookDelivery } from '../../api/types'
import { Button } from '../../components/button'
import { Confirm } from '../../components/dialog'
import { Notice, ProblemNotice } from '../../components/notice'
import { SecretDialog } from '../../components/secret'
import { Table, type Column } from '../../components/table'
import { done, problem } from '../../components/toast'
import { count, instant } from '../../format'
import { useLoaded } from '../../loading'
import { texts } from '../../texts'
import { WebhookDialog } from './webhook_dialog'

const said = texts.webhooks

export function Webhooks() {
  const { value, error, reload } = useLoaded((signal) => get<Listing<Webhook>>('/v1/webhooks', { signal }), [])
  const [asking, setAsking] = useState(false)
  const [made, setMade] = useState<NewWebhook | null>(null)
  if (error) return <ProblemNotice error={error} onRetry={reload} />
  if (!value) return <p class="quiet">{texts.app.loading}</p>
  const show = (webhook: NewWebhook) => {
    setAsking(false)
    setMade(webhook)
    reload()
  }
  return (
    <div class="stack">
      <div class="page-head">
        <p>{said.intro}</p>
        <Button kind="primary" icon="plus" onClick={() => setAsking(true)}>
          {said.create}
        </Button>
      </div>
      {value.data.length === 0 && <Notice title={said.emptyTitle} text={said.emptyText} />}
      {value.data.map((webhook) => (
        <One key={webhook.id} webhook={webhook} onGone={reload} />
      ))}
      {asking && <WebhookDialog onMade={show} onClose={() => setAsking(false)} />}
      {made && (
        <SecretDialog title={said.madeTitle} text={said.madeText} label={said.secret} secret={made.secret}
          onClose={() => setMade(null)} />
      )}
    </div>
  )
}

function One({ webhook, onGone }: { webhook: Webhook; onGone: () => void }) {
  const [asking, setAsking] = useState(false)
  const leave = () =>
    remove(`/v1/webhooks/${webhook.id}`)
      .then(() => done(said.removed))
      .catch(problem)
      .finally(onGone)
  return (
    <section class="webhook" aria-label={webhook.url}>
      <div class="webhook-head">
        <h2 class="wrapping">
          <bdi>{webhook.url}</bdi>
        </h2>
        <span class="quiet">{webhook.every_batch ? said.every : said.named}</span>
        <Button kind="quiet" icon="trash" onClick={() => setAsking(true)}>
          {said.remove}
          <span class="silent">{webhook.url}</span>
        </Button>
      </div>
      <Deliveries webhook={webhook} />
      {asking && (
        <Confirm title={said.removeTitle} text={said.removeText} action={said.remove} onConfirm={() => void leave()}
          onClose={() => setAsking(false)} />
      )}
    </section>
  )
}

function Deliveries({ webhook }: { webhook: Webhook }) {
  const path = `/v1/webhooks/${webhook.id}/deliveries`
  const { value, error, reload } = useLoaded((signal) => get<Page<WebhookDelivery>>(path, { query: { limit: 20 }, signal }), [path])
  if (error) return <ProblemNotice error={error} onRetry={reload} />
  if (!value) return <p class="quiet">{texts.app.loading}</p>
  if (value.data.length === 0) return <p class="quiet">{said.nothingSent}</p>
  const resend = (delivery: WebhookDelivery) =>
    post(`${path}/${delivery.id}/resend`)
      .then(() => done(said.resent))
      .catch(problem)
      .finally(reload)
  return (
    <>
      <Table caption={said.deliveries(webhook.url)} rows={value.data} rowKey={(each) => each.id} columns={columns(resend)} />
      {value.has_more && <p class="quiet">{said.more(value.data.length)}</p>}
    </>
  )
}

function columns(resend: (delivery: WebhookDelivery) => void): Column<WebhookDelivery>[] {
  return [
    { title: said.columns.when, cell: (each) => <time dateTime={each.created_at}>{instant(each.created_at)}</time> },
    {
      title: said.columns.batch,
      cell: (each) => (
        <a href={`/batches/${each.batch_id}`}>
          <code>{each.batch_id.slice(0, 12)}…</code>
        </a>
      ),
    },
    { title: said.columns.state, cell: (each) => <State delivery={each} /> },
    { title: said.columns.tries, cell: (each) => count(each.tries), number: true },
    {
      title: said.columns.action,
      cell: (each) => (
        <Button kind="quiet" icon="retry" onClick={() => resend(each)}>
          {said.resend}
        </Button>
      ),
    },
  ]
}

function State({ delivery }: { delivery: WebhookDelivery }) {
  const answered = delivery.answered === null ? '' : ` (HTTP ${delivery.answered})`
  return (
    <>
      {said.states[delivery.status]}
      {answered}
      {delivery.error && (
        <>
          <br />
          <span class="wrong wrapping">{delivery.error}</span>
        </>
      )}
    </>
  )
}
