import { defineConfig } from 'vite'
import { compress } from './compress.ts'
import { sdk } from './sdk.ts'

const server = process.env.BATCHMILL_SERVER ?? 'http://127.0.0.1:3001'

export default defineConfig({
  build: {
    target: 'es2022',
    outDir: '../src/batchmill/web/static',
    emptyOutDir: true,
    // Inlined files would be data: addresses, which the page's policy forbids.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  plugins: [compress(), sdk()],
  server: { proxy: { '/v1': server, '/login': server, '/docs': server } },
})
