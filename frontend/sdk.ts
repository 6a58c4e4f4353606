/** Builds `src/sdk` into one file that any page can import: `/batchmill.js`. */
import { build, type Plugin } from 'vite'
import { compress } from './compress.ts'

export function sdk(): Plugin {
  let outDir = ''
  return {
    name: 'sdk',
    apply: 'build',
    configResolved(config) {
      outDir = config.build.outDir
    },
    async closeBundle() {
      await build({
        configFile: false,
        logLevel: 'warn',
        publicDir: false,
        build: {
          outDir,
          emptyOutDir: false,
          target: 'es2022',
          lib: { entry: 'src/sdk/index.ts', formats: ['es'], fileName: () => 'batchmill.js' },
        },
        plugins: [compress()],
      })
    },
  }
}
