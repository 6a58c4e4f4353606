/** The frame of every page: its head, the links between pages, and the page that is meant. */
import { Account } from './account'
import { IconButton } from './components/button'
import { Guarded } from './components/guarded'
import type { IconName } from './components/icons'
import { Notice } from './components/notice'
import { Toasts } from './components/toast'
import { BatchPage } from './pages/batch/batch_page'
import { HomePage } from './pages/home/home_page'
import { KeysPage } from './pages/keys/keys_page'
import { QueuePage } from './pages/queue/queue_page'
import { SettingsPage } from './pages/settings/settings_page'
import { SignInPage } from './pages/sign_in/sign_in_page'
import { QueueNotice } from './queue_notice'
import { onLinkClick, useRoute, type PageName, type Route } from './router'
import { SendingNote } from './sending/sending_note'
import { SessionContext, useKnown } from './session'
import { texts } from './texts'
import { useTheme, type Theme } from './theme'
import { useTitle } from './title'

const LINKS: readonly { page: PageName; href: string; text: string }[] = [
  { page: 'home', href: '/', text: texts.app.home },
  { page: 'queue', href: '/queue', text: texts.app.queue },
  { page: 'keys', href: '/keys', text: texts.app.keys },
  { page: 'settings', href: '/settings', text: texts.app.settings },
]
const THEME_ICONS: Record<Theme, IconName> = { system: 'half', light: 'sun', dark: 'moon' }

export function Shell() {
  const route = useRoute()
  const known = useKnown()
  const refused = known.refusal !== null
  // Somebody else sees other things: everything is read anew.
  const who = refused ? 'nobody' : (known.session?.key?.id ?? '')
  return (
    <SessionContext.Provider value={known}>
      <div class="shell" onClick={onLinkClick}>
        <a class="skip" href="#main">
          {texts.app.skip}
        </a>
        <Head page={route.page} />
        <Guarded silent>{!refused && <QueueNotice key={who} onQueue={route.page === 'queue'} />}</Guarded>
        <main id="main" tabIndex={-1}>
          <Guarded key={`${who} ${route.page} ${route.id}`}>
            <Page route={refused ? { ...route, page: 'signIn' } : route} />
          </Guarded>
        </main>
        <Guarded silent>{route.page !== 'home' && <SendingNote />}</Guarded>
        <Toasts />
      </div>
    </SessionContext.Provider>
  )
}

function Head({ page }: { page: PageName }) {
  const [theme, turnTheme] = useTheme()
  const here = page === 'batch' ? 'home' : page
  return (
    <header class="head">
      <a class="brand" href="/">
        <Mark />
        {texts.app.name}
      </a>
      <nav aria-label={texts.app.navigation}>
        {LINKS.map((link) => (
          <a key={link.page} href={link.href} aria-current={link.page === here ? 'page' : undefined}>
            {link.text}
          </a>
        ))}
        <a href="/docs">{texts.app.api}</a>
      </nav>
      <Account />
      <IconButton icon={THEME_ICONS[theme]} label={texts.app.theme[theme]} onClick={turnTheme} />
    </header>
  )
}

function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M7 10h18M7 16h12M7 22h7" />
      <circle cx="23" cy="21" r="4" />
    </svg>
  )
}

function Page({ route }: { route: Route }) {
  switch (route.page) {
    case 'home':
      return <HomePage query={route.query} />
    case 'batch':
      return <BatchPage id={route.id} />
    case 'queue':
      return <QueuePage />
    case 'keys':
      return <KeysPage />
    case 'settings':
      return <SettingsPage />
    case 'signIn':
      return <SignInPage query={route.query} />
    case 'unknown':
      return <Unknown />
  }
}

function Unknown() {
  useTitle(texts.app.unknownTitle)
  return <Notice heading="h1" title={texts.app.unknownTitle} text={texts.app.unknownText} />
}
