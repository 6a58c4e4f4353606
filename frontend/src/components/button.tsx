/** A button that can be busy, and a button that is only an icon with a name. */
import type { ComponentChildren } from 'preact'
import { Icon, type IconName } from './icons'

interface ButtonProps {
  kind?: 'plain' | 'primary' | 'danger' | 'quiet'
  icon?: IconName
  busy?: boolean
  disabled?: boolean
  type?: 'button' | 'submit'
  onClick?: (event: MouseEvent) => void
  /** Explains itself to the mouse, where the text is short. */
  title?: string
  children: ComponentChildren
}

export function Button({ kind = 'plain', icon, busy = false, disabled = false, type = 'button', children, ...rest }: ButtonProps) {
  const drawn = busy ? 'spinner' : icon
  return (
    <button class={`button ${kind}`} type={type} disabled={disabled || busy} aria-busy={busy} {...rest}>
      {drawn && <Icon name={drawn} class={busy ? 'turning' : ''} />}
      <span>{children}</span>
    </button>
  )
}

interface IconButtonProps {
  icon: IconName
  /** What it does, for readers and the mouse. */
  label: string
  disabled?: boolean
  onClick: (event: MouseEvent) => void
}

export function IconButton({ icon, label, ...rest }: IconButtonProps) {
  return (
    <button class="button quiet icon-only" type="button" aria-label={label} title={label} {...rest}>
      <Icon name={icon} />
    </button>
  )
}
