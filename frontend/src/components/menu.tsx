/** A button that opens a short list; closes with Esc, a choice, or when the focus goes elsewhere. */
import type { ComponentChildren } from 'preact'
import { useRef } from 'preact/hooks'
import { Icon, type IconName } from './icons'

interface MenuProps {
  icon: IconName
  label: string
  children: ComponentChildren
}

export function Menu({ icon, label, children }: MenuProps) {
  const menu = useRef<HTMLDetailsElement>(null)
  const close = () => {
    if (menu.current) menu.current.open = false
  }
  const onKey = (event: KeyboardEvent) => {
    if (event.key !== 'Escape' || !menu.current?.open) return
    event.stopPropagation()
    close()
    menu.current.querySelector('summary')?.focus()
  }
  const onLeave = (event: FocusEvent) => {
    if (!menu.current?.contains(event.relatedTarget as Node | null)) close()
  }
  return (
    <details ref={menu} class="menu" onKeyDown={onKey} onFocusOut={onLeave}>
      <summary class="button">
        <Icon name={icon} />
        <span class="menu-label">{label}</span>
        <Icon name="down" class="small" />
      </summary>
      <div class="menu-list" tabIndex={-1} onClick={close}>
        {children}
      </div>
    </details>
  )
}
