/** One sending: how far it is, how fast, and what to do when it does not go on. */
import { useState } from 'preact/hooks'
import { Button } from '../../components/button'
import { Confirm } from '../../components/dialog'
import { Progress } from '../../components/progress'
import { done, problem } from '../../components/toast'
import { bytes, duration } from '../../format'
import { fromList } from '../../sending/gather'
import { isOver, type Sending } from '../../sending/sending'
import { texts } from '../../texts'

export function SendingCard({ sending }: { sending: Sending }) {
  const { sentFiles, totalFiles, sentBytes, totalBytes } = sending
  const percent = totalBytes ? (sentBytes / totalBytes) * 100 : (sentFiles / totalFiles) * 100
  const needsFiles = sending.missing.length > 0
  return (
    <section class="sending card" aria-label={texts.sending.label(sending.title)}>
      <div class="sending-head">
        <h2>
          <bdi>{sending.title}</bdi>
        </h2>
        <a href={`/batches/${sending.batchId}`}>{texts.sending.look}</a>
      </div>
      <Progress label={texts.sending.progress} percent={percent} />
      <p class="quiet sending-numbers">
        {texts.sending.count(sentFiles, totalFiles)} · {bytes(sentBytes)} / {bytes(totalBytes)}
        <Speed sending={sending} />
      </p>
      <div class="said" role="status">
        {sending.trouble && <p class="trouble">{texts.sending.trouble(sending.trouble, sending.state === 'offline')}</p>}
      </div>
      {needsFiles && <ChooseAgain sending={sending} />}
      <Refused sending={sending} />
      <Actions sending={sending} />
      {!sending.survives && <p class="quiet">{texts.sending.notKept}</p>}
    </section>
  )
}

function Speed({ sending }: { sending: Sending }) {
  const pace = sending.goesOn ? sending.pace.bytesPerSecond() : null
  if (!pace) return null
  const left = (sending.totalBytes - sending.sentBytes) / pace
  return (
    <>
      {' '}
      · {bytes(pace)}/s · {texts.sending.left(duration(left))}
    </>
  )
}

/** After a reload: no page may open files by itself, so they are asked for once more. */
function ChooseAgain({ sending }: { sending: Sending }) {
  const take = (event: Event) => {
    const input = event.currentTarget as HTMLInputElement
    const fitted = sending.supply(fromList(input.files ?? []))
    input.value = ''
    if (fitted === 0) problem(texts.sending.noneFitted)
    else done(texts.sending.fitted(fitted))
  }
  const inFolder = sending.missing.some((entry) => entry.path.includes('/'))
  return (
    <div class="again">
      <p>{texts.sending.again(sending.missing.length)}</p>
      <label class="button primary">
        {inFolder ? texts.home.chooseFolder : texts.home.choose}
        <input class="silent" type="file" multiple onChange={take} {...(inFolder ? { webkitdirectory: true } : {})} />
      </label>
    </div>
  )
}

function Refused({ sending }: { sending: Sending }) {
  const refused = sending.entries.filter((entry) => entry.state === 'refused')
  if (refused.length === 0) return null
  return (
    <div class="trouble">
      <p>{texts.sending.refused(refused.length)}</p>
      <ul>
        {refused.slice(0, 5).map((entry) => (
          <li key={entry.path}>
            {!entry.error?.includes(entry.path) && <bdi>{entry.path}: </bdi>}
            {entry.error}
          </li>
        ))}
      </ul>
    </div>
  )
}

function Actions({ sending }: { sending: Sending }) {
  const [asking, setAsking] = useState(false)
  const refused = sending.refused > 0
  const left = sending.entries.filter((entry) => !isOver(entry)).length
  const stop = refused && left === sending.refused ? texts.sending.without : texts.sending.stop
  const finish = () => sending.finish().catch(problem)
  return (
    <div class="sending-actions">
      {sending.goesOn && (
        <Button icon="pause" onClick={() => sending.pause()}>
          {texts.sending.pause}
        </Button>
      )}
      {sending.state !== 'sending' && (
        <Button icon="play" kind="primary" onClick={() => sending.resume()}>
          {sending.state === 'paused' ? texts.sending.resume : texts.sending.now}
        </Button>
      )}
      {refused && (
        <Button icon="retry" onClick={() => sending.retry()}>
          {texts.app.tryAgain}
        </Button>
      )}
      <Button icon="stop" onClick={() => setAsking(true)}>
        {stop}
      </Button>
      {asking && (
        <Confirm title={texts.sending.stopTitle} text={texts.sending.stopText(left)} action={stop} onConfirm={finish} onClose={() => setAsking(false)} />
      )}
    </div>
  )
}
