"""What stands before every request: hosts, pages, probes, and what every answer carries."""

import pytest

from batchmill.api.http import json_body
from batchmill.errors.request import TooLargeError
from support import server as servers

COOKIE = {"Cookie": "batchmill_key=bm_whatever", "Host": "evil.example"}


def test_a_cookie_opens_no_foreign_host(server: servers.Server) -> None:
    assert server.client.get("/v1/batches", headers=COOKIE).status_code == 403
    assert server.client.post("/v1/session", headers=COOKIE, json={}).status_code == 403


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 403)])
def test_only_a_question_reaches_a_probe_under_a_foreign_host(
    server: servers.Server, method: str, status: int
) -> None:
    answer = server.client.request(method, "/healthz", headers={"Host": "evil.example"})
    assert answer.status_code == status


@pytest.mark.parametrize("path", ["/v1/batches", "/v1/nothing", "/healthz"])
def test_every_answer_tells_browsers_to_keep_it_to_themselves(
    server: servers.Server, path: str
) -> None:
    headers = server.client.get(path).headers
    assert {
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "x-frame-options": "DENY",
        "cross-origin-resource-policy": "same-origin",
    }.items() <= dict(headers).items()


def test_json_nests_to_32_levels_and_no_deeper() -> None:
    assert json_body.parse("[" * 32 + "]" * 32) is not None
    with pytest.raises(TooLargeError, match="32 levels"):
        json_body.parse("[" * 33 + "1" + "]" * 33)
