/** Starts the page. */
import './styles/tokens.css'
import './styles/base.css'
import './styles/components.css'
import { render } from 'preact'
import { Shell } from './shell'
import { applyTheme } from './theme'

applyTheme()
const root = document.getElementById('app')
if (root) render(<Shell />, root)
