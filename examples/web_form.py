"""A page with an upload button, and the little server behind it that leaves the work to batchmill.

python examples/web_form.py [PORT [BATCHMILL_URL]]

Browsers see this server alone: it keeps the API key (BATCHMILL_API_KEY) to itself. When no
batchmill server answers, the pictures are made smaller in this very process.
"""

import argparse
import os
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from batchmill import Client
from batchmill.errors.base import BatchmillError

MOST_BYTES = 20_000_000
PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Smaller pictures</title>
<form>
  <label>A picture <input type="file" accept="image/*" required></label>
  <button>Make it small</button>
</form>
<p role="status">Nothing was sent yet.</p>
<script>
  const [form, input, status] = ['form', 'input', 'p'].map((name) => document.querySelector(name))
  form.onsubmit = async (event) => {
    event.preventDefault()
    const [file] = input.files
    status.textContent = `${file.name} is on its way \u2026`
    const answer = await fetch('/small', { method: 'POST', body: file })
    if (!answer.ok) return (status.textContent = await answer.text())
    const small = await answer.blob()
    const link = Object.assign(document.createElement('a'), {
      href: URL.createObjectURL(small), download: 'small.webp', textContent: 'Save it'
    })
    const by = answer.headers.get('X-Done-By')
    status.replaceChildren(`${file.size} \u2192 ${small.size} bytes, by ${by}. `, link)
  }
</script>
""".encode()


class Handler(BaseHTTPRequestHandler):
    """Shows the page; takes one picture and answers with the smaller one."""

    def do_GET(self) -> None:
        """Show the page."""
        self._answer(200, PAGE, "text/html; charset=utf-8")

    def do_POST(self) -> None:
        """Make the picture in the body small."""
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= MOST_BYTES:
            self._answer(413, b"Send one picture of at most 20 MB.", "text/plain")
            return
        with tempfile.TemporaryDirectory() as folder:
            picture = Path(folder, "picture")
            picture.write_bytes(self.rfile.read(length))
            self._process(picture)

    def _process(self, picture: Path) -> None:
        url, key = self.server.batchmill_url, os.environ.get("BATCHMILL_API_KEY")
        try:
            with Client(url, api_key=key, fallback="local") as client:
                done = client.process([picture], "web", output_dir=picture.parent / "out")
        except BatchmillError as error:
            self._answer(502, error.message.encode(), "text/plain; charset=utf-8")
            return
        (file,) = done.files
        if file.error:
            self._answer(422, file.error.encode(), "text/plain; charset=utf-8")
        else:
            self._answer(200, file.paths[0].read_bytes(), "image/webp", **{"X-Done-By": done.via})

    def _answer(self, status: int, body: bytes, media_type: str, **headers: str) -> None:
        self.send_response(status)
        more = {"Content-Type": media_type, "Content-Length": str(len(body)), **headers}
        for name, value in more.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve the page on this machine until interrupted."""
    parser = argparse.ArgumentParser(description="An upload button.")
    parser.add_argument("port", type=int, nargs="?", default=8000)
    parser.add_argument("batchmill_url", nargs="?", default="http://127.0.0.1:3001")
    given = parser.parse_args()
    with ThreadingHTTPServer(("127.0.0.1", given.port), Handler) as server:
        server.batchmill_url = given.batchmill_url
        print(f"Open http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
