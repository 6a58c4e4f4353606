/** Who is signed in, at the head of every page; and the way to change that. */
import { Icon } from './components/icons'
import { Menu } from './components/menu'
import { problem } from './components/toast'
import { navigate } from './router'
import { signOut, useSession } from './session'
import { texts } from './texts'

export function Account() {
  const { session, refusal, reload } = useSession()
  const leave = () =>
    signOut()
      .then(() => {
        reload()
        navigate('/sign-in')
      })
      .catch(problem)
  if (!session && !refusal) return null
  if (!session?.key) {
    return (
      <a class="button quiet" href="/sign-in">
        <Icon name="key" />
        <span class="menu-label">{texts.signIn.title}</span>
      </a>
    )
  }
  return (
    <Menu icon="key" label={session.key.name}>
      <p class="quiet">{texts.signIn.now(session)}</p>
      <a href="/sign-in">{texts.signIn.other}</a>
      <button class="link" type="button" onClick={() => void leave()}>
        {texts.signIn.out}
      </button>
    </Menu>
  )
}
