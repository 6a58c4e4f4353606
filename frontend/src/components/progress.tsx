/** A bar of one value; null: it is not known yet. */

interface ProgressProps {
  label: string
  percent: number | null
}

export function Progress({ label, percent }: ProgressProps) {
  const width = `${percent ?? 0}%`
  return (
    <div
      class="progress"
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent ?? undefined}
    >
      <div style={{ width }} />
    </div>
  )
}
