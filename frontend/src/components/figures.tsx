/** A row of numbers that people look at first. */

export interface Figure {
  label: string
  value: string
  /** What else there is to say, in few words. */
  more?: string | undefined
}

export function Figures({ label, figures }: { label: string; figures: readonly Figure[] }) {
  return (
    <dl class="tallies" aria-label={label}>
      {figures.map((figure) => (
        <div key={figure.label}>
          <dt>{figure.label}</dt>
          <dd>
            <b>{figure.value}</b>
            {figure.more && <span class="quiet">{figure.more}</span>}
          </dd>
        </div>
      ))}
    </dl>
  )
}
