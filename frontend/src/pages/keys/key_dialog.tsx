/** Asks what a new key is for and what it may do; says what each choice means. */
import { useState } from 'preact/hooks'
import { get, post } from '../../api/client'
import { SCOPES, type Listing, type NewKey, type Scope, type Setting } from '../../api/types'
import { Button } from '../../components/button'
import { Dialog } from '../../components/dialog'
import { Field } from '../../components/field'
import { count } from '../../format'
import { useLoaded } from '../../loading'
import { texts } from '../../texts'

/** In the order in which their files are taken up, slowest last. */
const TIERS = ['enterprise', 'premium', 'pro', 'test_premium', 'free', 'anonymous'] as const
const OWNER = '[a-z0-9][a-z0-9_\\-]{0,38}'

interface KeyDialogProps {
  onMade: (key: NewKey) => void
  onClose: () => void
}

export function KeyDialog({ onMade, onClose }: KeyDialogProps) {
  const [name, setName] = useState('')
  const [owner, setOwner] = useState('')
  const [tier, setTier] = useState('free')
  const [scopes, setScopes] = useState<Scope[]>(['read', 'write'])
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const submit = async (event: SubmitEvent) => {
    event.preventDefault()
    setBusy(true)
    try {
      onMade(await post<NewKey>('/v1/keys', { body: { name, tier, scopes, ...(owner && { owner }) } }))
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error))
      setBusy(false)
    }
  }
  return (
    <Dialog title={texts.keys.create} onClose={onClose}>
      <form class="stack" onSubmit={(event) => void submit(event)}>
        <Field label={texts.keys.name} help={texts.keys.nameHelp}>
          {(id, help) => (
            <input id={id} aria-describedby={help} required maxLength={200} autocomplete="off" value={name}
              onInput={(event) => setName(event.currentTarget.value)} />
          )}
        </Field>
        <Field label={texts.keys.owner} help={texts.keys.ownerHelp}>
          {(id, help) => (
            <input id={id} aria-describedby={help} pattern={OWNER} autocomplete="off" value={owner}
              onInput={(event) => setOwner(event.currentTarget.value)} />
          )}
        </Field>
        <TierField tier={tier} onChange={setTier} />
        <ScopeField scopes={scopes} onChange={setScopes} />
        {problem && (
          <p class="wrong" role="alert">
            {problem}
          </p>
        )}
        <div class="dialog-actions">
          <Button onClick={onClose}>{texts.keys.forget}</Button>
          <Button type="submit" kind="primary" busy={busy} disabled={scopes.length === 0}>
            {texts.keys.make}
          </Button>
        </div>
      </form>
    </Dialog>
  )
}

function TierField({ tier, onChange }: { tier: string; onChange: (tier: string) => void }) {
  const { value } = useLoaded((signal) => get<Listing<Setting>>('/v1/settings', { signal }), [])
  return (
    <Field label={texts.keys.tier} help={texts.keys.tierHelp(TIERS.indexOf(tier as (typeof TIERS)[number]), limits(tier, value?.data))}>
      {(id, help) => (
        <select id={id} aria-describedby={help} value={tier} onChange={(event) => onChange(event.currentTarget.value)}>
          {TIERS.filter((each) => each !== 'anonymous').map((each) => (
            <option key={each} value={each}>
              {each}
            </option>
          ))}
        </select>
      )}
    </Field>
  )
}

/** The limits that people ask for first, as this very server has them. */
function limits(tier: string, settings: readonly Setting[] | undefined): { file: string; files: string; batch: string; submissions: string } | null {
  const of = (name: string) => settings?.find((each) => each.name === `tiers.${tier}.${name}`)?.value
  const [file, files, batch, submissions] = ['file_bytes', 'files_per_request', 'batch_bytes', 'submissions_per_minute'].map(of)
  if (!file || !files || !batch || !submissions) return null
  return { file, files: count(Number(files)), batch, submissions: count(Number(submissions)) }
}

function ScopeField({ scopes, onChange }: { scopes: Scope[]; onChange: (scopes: Scope[]) => void }) {
  const turn = (scope: Scope, on: boolean) =>
    onChange(SCOPES.filter((each) => (each === scope ? on : scopes.includes(each))))
  return (
    <fieldset class="choices">
      <legend>{texts.keys.scopesTitle}</legend>
      {SCOPES.map((scope) => (
        <label key={scope}>
          <input type="checkbox" checked={scopes.includes(scope)}
            onChange={(event) => turn(scope, event.currentTarget.checked)} />
          <span>
            <b>{texts.keys.scopes[scope].name}</b> <span class="quiet">{texts.keys.scopes[scope].means}</span>
          </span>
        </label>
      ))}
    </fieldset>
  )
}
