/** What this module throws. */

export class BatchmillError extends Error {
  constructor(
    message: string,
    readonly code: string,
    /** HTTP status; 0: no answer. */
    readonly status: number = 0,
  ) {
    super(message)
    this.name = 'BatchmillError'
  }

  /** Whether the server is away, overloaded or full, so that another way may work. */
  get isOutage(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500
  }
}
