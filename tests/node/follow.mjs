// Follows streams with the EventSource of npm and prints what it dispatches, a JSON line each.
//
// Argument: {"cookie": "session=…" or null, "streams": {name: URL}, "types": [event types]}.
// Lines: {stream, kind: "event", type, data, id} or {stream, kind: "error", readyState, code}.

import { EventSource } from 'eventsource'

const { cookie, streams, types } = JSON.parse(process.argv[2])

function print(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

// Cookies are the browser's affair; here the request says which session it is.
function fetchWithCookie(url, init) {
  const headers = cookie === null ? init.headers : { ...init.headers, Cookie: cookie }
  return fetch(url, { ...init, headers })
}

for (const [stream, url] of Object.entries(streams)) {
  const source = new EventSource(url, { fetch: fetchWithCookie })
  for (const type of ['message', ...types]) {
    source.addEventListener(type, (event) => {
      print({ stream, kind: 'event', type, data: event.data, id: event.lastEventId })
    })
  }
  source.addEventListener('error', (error) => {
    print({ stream, kind: 'error', readyState: source.readyState, code: error.code ?? null })
  })
}
