/** What the pipeline found in a file: documents and their tables, captions, and anything else as text. */
import type { Item } from '../../api/types'
import { Table } from '../../components/table'
import { count } from '../../format'
import { texts } from '../../texts'
import { documentOf, isSimple, type FoundDocument, type FoundTable } from './document'
import { facesOf } from './faces'

/** `read`: whether the item is here whole; lists have it without its data. */
export function Found({ item, read }: { item: Item; read: boolean }) {
  const data = item.data ?? {}
  const document = documentOf(data)
  const faces = 'faces' in data ? facesOf(data) : null
  if (Object.keys(data).length === 0) return <p class="quiet">{nothing(item, read)}</p>
  return (
    <div class="stack">
      {faces && <p>{faces.length ? texts.item.faces(faces.length) : texts.item.noFaces}</p>}
      {document && <DocumentFacts document={document} />}
      <Plain data={data} />
      <details>
        <summary>{texts.item.raw}</summary>
        <pre tabIndex={0}>{JSON.stringify(data, null, 2)}</pre>
      </details>
    </div>
  )
}

function nothing(item: Item, read: boolean): string {
  if (!item.ended_at) return texts.item.notYetFound
  return read ? texts.item.nothingFound : texts.app.loading
}

function DocumentFacts({ document }: { document: FoundDocument }) {
  const names = texts.item.document
  const facts: [string, string | null][] = [
    [names.kind, document.kind],
    [names.title, document.title],
    [names.author, document.author],
    [names.pages, document.pages === null ? null : count(document.pages)],
    [names.words, document.words === null ? null : count(document.words)],
    [names.language, document.language],
    [names.encoding, document.encoding],
  ]
  return (
    <>
      <Pairs facts={facts} />
      {document.needs_ocr && <p class="hint">{texts.item.needsOcr}</p>}
      {[...document.tables, ...document.sheets].map((table, number) => (
        <FoundTableView key={number} table={table} />
      ))}
    </>
  )
}

interface SampleRow {
  cells: string[]
  number: number
}

function FoundTableView({ table }: { table: FoundTable }) {
  const where = table.page ? `, ${texts.item.page(table.page)}` : ''
  const title = `${table.name}: ${texts.item.rows(table.rows)}${where}`
  const names = table.columns.map((column) => column.name)
  return (
    <section class="stack">
      <h3>
        <bdi>{title}</bdi>
      </h3>
      <Table
        caption={title}
        rows={table.columns}
        rowKey={(column) => column.name}
        columns={[
          { title: texts.item.column, cell: (column) => <bdi>{column.name}</bdi> },
          { title: texts.item.columnType, cell: (column) => [column.type, column.unit].filter(Boolean).join(' ') },
          { title: texts.item.range, cell: (column) => [column.min, column.max].filter(isSimple).join(' – ') },
          { title: texts.item.empty, cell: (column) => count(column.nulls), number: true },
        ]}
      />
      {table.sample.length > 0 && (
        <details>
          <summary>{texts.item.sample}</summary>
          <Table
            caption={texts.item.sample}
            rows={table.sample.map((cells, number) => ({ cells, number }))}
            rowKey={({ number }) => String(number)}
            columns={names.map((title, at) => ({ title, cell: (row: SampleRow) => row.cells[at] }))}
          />
        </details>
      )}
    </section>
  )
}

/** The simple values among the data: captions, keywords, counts. */
function Plain({ data }: { data: Record<string, unknown> }) {
  const facts = Object.entries(data)
    .map(([name, value]): [string, string | null] => [name.replaceAll('_', ' '), plainText(value)])
    .filter(([, value]) => value !== null)
  return <Pairs facts={facts} />
}

function plainText(value: unknown): string | null {
  if (Array.isArray(value)) return value.length && value.every(isSimple) ? value.join(', ') : null
  return isSimple(value) ? String(value) : null
}

function Pairs({ facts }: { facts: [string, string | null][] }) {
  const known = facts.filter(([, value]) => value !== null && value !== '')
  if (known.length === 0) return null
  return (
    <dl class="pairs">
      {known.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>
            <bdi>{value}</bdi>
          </dd>
        </div>
      ))}
    </dl>
  )
}
