/** Light, dark, or as the system has it; a choice is kept in this browser. */
import { useState } from 'preact/hooks'

export type Theme = 'system' | 'light' | 'dark'

const KEY = 'batchmill.theme'
const NEXT: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' }

export function applyTheme(theme: Theme = stored()): void {
  if (theme === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
}

export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState(stored)
  const turn = () => {
    const next = NEXT[theme]
    keep(next)
    applyTheme(next)
    setTheme(next)
  }
  return [theme, turn]
}

function stored(): Theme {
  try {
    const found = localStorage.getItem(KEY)
    return found === 'light' || found === 'dark' ? found : 'system'
  } catch {
    return 'system' // storage can be forbidden
  }
}

function keep(theme: Theme): void {
  try {
    localStorage.setItem(KEY, theme)
  } catch {
    // the choice then lasts as long as the page
  }
}
