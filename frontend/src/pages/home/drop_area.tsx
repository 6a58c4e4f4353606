/** Where files come in: dropped, chosen, or a folder with all that is in it. */
import { useEffect, useRef, useState } from 'preact/hooks'
import { Button } from '../../components/button'
import { Icon } from '../../components/icons'
import { fromList, type Picked } from '../../sending/gather'
import { texts } from '../../texts'

interface DropAreaProps {
  small: boolean
  /** Whether something that was dropped is still being read. */
  reading: boolean
  onPick: (picked: Picked[]) => void
}

export function DropArea({ small, reading, onPick }: DropAreaProps) {
  const files = useRef<HTMLInputElement>(null)
  const folder = useRef<HTMLInputElement>(null)
  const over = useDraggedOver()
  const take = (event: Event) => {
    const input = event.currentTarget as HTMLInputElement
    onPick(fromList(input.files ?? []))
    input.value = '' // the same files can be chosen again
  }
  return (
    <section class={`drop ${small ? 'small' : ''} ${over ? 'over' : ''}`} aria-labelledby="drop-title">
      <Icon name="upload" class="drop-icon" />
      <div>
        <h2 id="drop-title">{over ? texts.home.dropNow : texts.home.dropTitle}</h2>
        <p class="quiet" role="status">{reading ? texts.home.reading : texts.home.dropText}</p>
      </div>
      <div class="drop-actions">
        <Button kind={small ? 'plain' : 'primary'} icon="file" onClick={() => files.current?.click()}>
          {texts.home.choose}
        </Button>
        <Button icon="folder" onClick={() => folder.current?.click()}>
          {texts.home.chooseFolder}
        </Button>
      </div>
      <input ref={files} type="file" multiple hidden aria-label={texts.home.choose} onChange={take} />
      <input ref={folder} type="file" multiple hidden aria-label={texts.home.chooseFolder} onChange={take} {...{ webkitdirectory: true }} />
    </section>
  )
}

/** Whether files are being dragged over the page. */
function useDraggedOver(): boolean {
  const [depth, setDepth] = useState(0)
  useEffect(() => {
    const enter = (event: DragEvent) => event.dataTransfer?.types.includes('Files') && setDepth((each) => each + 1)
    const leave = () => setDepth((each) => Math.max(0, each - 1))
    const end = () => setDepth(0)
    window.addEventListener('dragenter', enter)
    window.addEventListener('dragleave', leave)
    window.addEventListener('drop', end)
    return () => {
      window.removeEventListener('dragenter', enter)
      window.removeEventListener('dragleave', leave)
      window.removeEventListener('drop', end)
    }
  }, [])
  return depth > 0
}
