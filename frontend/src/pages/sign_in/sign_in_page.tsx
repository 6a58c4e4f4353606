/** Where a key is shown to the server; and what somebody sees whom the server does not serve. */
import { useState } from 'preact/hooks'
import { ProblemError } from '../../api/client'
import { Button } from '../../components/button'
import { Field } from '../../components/field'
import { navigate } from '../../router'
import { signIn, signOut, useSession } from '../../session'
import { texts } from '../../texts'
import { useTitle } from '../../title'

export function SignInPage({ query }: { query: URLSearchParams }) {
  useTitle(texts.signIn.title)
  const { session, refusal } = useSession()
  const why = query.get('link') === 'used' ? texts.signIn.linkUsed : refusal?.message
  return (
    <div class="narrow">
      <h1>{texts.signIn.title}</h1>
      {why && <p class="hint">{why}</p>}
      {session && <p>{texts.signIn.now(session)}</p>}
      <KeyForm />
      <p class="quiet">{texts.signIn.whence}</p>
      <p class="quiet">
        <code>{texts.signIn.command}</code>
      </p>
    </div>
  )
}

function KeyForm() {
  const { session, refusal, reload } = useSession()
  const [key, setKey] = useState('')
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const act = async (what: () => Promise<void>) => {
    setBusy(true)
    try {
      await what()
      setProblem('')
      reload()
      navigate('/')
    } catch (error) {
      setProblem(error instanceof ProblemError ? error.message : String(error))
    } finally {
      setBusy(false)
    }
  }
  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    void act(() => signIn(key.trim()))
  }
  return (
    <form class="stack" onSubmit={submit}>
      <Field label={texts.signIn.key} help={texts.signIn.keyHelp}>
        {(id, describedBy) => (
          <input
            id={id}
            type="password"
            autocomplete="current-password"
            required
            value={key}
            aria-describedby={describedBy}
            aria-invalid={problem !== ''}
            onInput={(event) => setKey(event.currentTarget.value)}
          />
        )}
      </Field>
      {problem && (
        <p class="wrong" role="alert">
          {problem}
        </p>
      )}
      <div class="line-up">
        <Button type="submit" kind="primary" icon="key" busy={busy}>
          {texts.signIn.submit}
        </Button>
        {(session?.key || refusal) && <Button onClick={() => void act(signOut)}>{texts.signIn.out}</Button>}
      </div>
    </form>
  )
}
