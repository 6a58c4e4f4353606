"""Sends files to a server and saves the results; without a server it does the work itself.

python examples/client_with_fallback.py URL OUT FILE…
"""

import sys

from batchmill import Client


def main() -> int:
    """Process the files wherever that is possible; return 1 when one of them failed."""
    url, out, *files = sys.argv[1:]
    with Client(url, fallback="local") as client:
        done = client.process(files, "web", output_dir=out)
    print(f"done by the server at {url}" if done.via == "server" else done.reason)
    for file in done.files:
        print(f"{file.name}: {file.error or ', '.join(map(str, file.paths))}")
    return 1 if any(file.error for file in done.files) else 0


if __name__ == "__main__":
    sys.exit(main())
