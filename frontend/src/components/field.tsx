/** A labelled field of a form, with a sentence of help beneath. */
import type { ComponentChildren } from 'preact'
import { useId } from 'preact/hooks'

interface FieldProps {
  label: string
  help?: string
  /** Draws the field itself: it takes the id, and the id of what describes it. */
  children: (id: string, describedBy: string | undefined) => ComponentChildren
}

export function Field({ label, help, children }: FieldProps) {
  const id = useId()
  const described = help ? `${id}-help` : undefined
  return (
    <div class="labelled">
      <label htmlFor={id}>{label}</label>
      {children(id, described)}
      {help && (
        <p id={described} class="quiet">
          {help}
        </p>
      )}
    </div>
  )
}
