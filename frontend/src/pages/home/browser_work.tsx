/** While the server is away: pictures made smaller in this browser, by the module that other pages use too. */
import { useState } from 'preact/hooks'
import type { Done, Item } from '../../../public/batchmill'
import { Button } from '../../components/button'
import { Progress } from '../../components/progress'
import { problem } from '../../components/toast'
import { bytes } from '../../format'
import { Batchmill } from '../../sdk'
import type { Picked } from '../../sending/gather'
import { texts } from '../../texts'

const PIPELINE = 'web'

export function BrowserWork({ picked }: { picked: Picked[] }) {
  const [percent, setPercent] = useState<number | null>(null)
  const [done, setDone] = useState<Done | null>(null)
  const pictures = picked.map(({ file }) => file).filter((file) => file.type.startsWith('image/'))
  if (pictures.length === 0) return null
  const work = () => {
    setPercent(0)
    new Batchmill({ server: location.origin })
      .process(pictures, { pipeline: PIPELINE, onProgress: (told) => setPercent(told.percent) })
      .then(setDone)
      .catch(problem)
      .finally(() => setPercent(null))
  }
  return (
    <div class="again">
      <p role="status">{done ? texts.here.done[done.via] : texts.here.offer(pictures.length)}</p>
      {percent === null && !done && (
        <Button icon="image" onClick={work}>
          {texts.here.start}
        </Button>
      )}
      {percent !== null && <Progress label={texts.batch.progress} percent={percent} />}
      <ul class="made">{done?.items.map((item) => <Made key={item.name} item={item} />)}</ul>
    </div>
  )
}

function Made({ item }: { item: Item }) {
  const [output] = item.outputs
  const save = async () => {
    if (!output) return
    const link = document.createElement('a')
    link.href = URL.createObjectURL(await output.blob())
    link.download = output.name.split('/').pop() ?? ''
    link.click()
    URL.revokeObjectURL(link.href)
  }
  if (!output) return <li class="bad">{item.error?.message}</li>
  return (
    <li>
      <Button icon="download" onClick={() => void save().catch(problem)}>
        {output.name}
      </Button>{' '}
      <span class="quiet">{bytes(output.bytes)}</span>
    </li>
  )
}
