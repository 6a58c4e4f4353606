import { expect, test } from 'vitest'
import { routeOf } from '../src/router'

test.each([
  ['/', 'home', ''], ['/queue', 'queue', ''], ['/queue/', 'queue', ''], ['/keys', 'keys', ''],
  ['/settings', 'settings', ''], ['/batches/bat_01ab', 'batch', 'bat_01ab'],
  ['/batches/bat_01ab/', 'batch', 'bat_01ab'], ['/batches', 'unknown', ''],
  ['/batches/../keys', 'unknown', ''], ['/docs', 'unknown', ''], ['/constructor', 'unknown', ''],
])('%s is the page %s', (path, page, id) => {
  const route = routeOf(path)
  expect([route.page, route.id]).toEqual([page, id])
})
