"""The page at /docs: OpenAPI as plain HTML, without a script and without another server."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = """
body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color-scheme:light dark}
code{font-family:ui-monospace,monospace}
section{border-top:1px solid #8888;padding:.5rem 0}
h3{font-size:1rem;margin:.5rem 0}
dl{margin:.25rem 0 0 1rem}dt{float:left;clear:left;margin-right:.75rem}
"""
CSP = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def page(openapi: Mapping[str, Any]) -> str:
    """Return the whole page."""
    title = escape(f"{openapi['info']['title']} {openapi['info']['version']}")
    body = "".join(_sections(openapi))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}: HTTP API</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{STYLE}</style><h1>{title}: HTTP API</h1>"
        '<p>The same for programs: <a href="/openapi.json">/openapi.json</a>. Errors are problem '
        "details (RFC 9457) with a <code>code</code> that never changes its meaning.</p>"
        f"<main>{body}</main></html>"
    )


def _sections(openapi: Mapping[str, Any]) -> Iterator[str]:
    tag = ""
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            (found,) = operation.get("tags") or [""]
            if found != tag:
                tag = found
                yield f"<h2>{escape(tag.capitalize())}</h2>"
            yield _operation(method, path, operation)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    text = escape(operation.get("description") or operation.get("summary", ""))
    fields = "".join(_parameters(operation.get("parameters", [])))
    body = ", ".join(operation.get("requestBody", {}).get("content", {}))
    takes = f"<p>Takes {escape(body)}.</p>" if body else ""
    return (
        f"<section><h3><code>{method.upper()} {escape(path)}</code></h3>"
        f"<p>{text}</p>{takes}<dl>{fields}</dl></section>"
    )


def _parameters(parameters: list[Mapping[str, Any]]) -> Iterator[str]:
    for each in parameters:
        if each["in"] != "path":
            about = each.get("description") or each.get("schema", {}).get("description", "")
            yield f"<dt><code>{escape(each['name'])}</code></dt><dd>{escape(about)}&nbsp;</dd>"
