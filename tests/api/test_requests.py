"""What the server refuses, and how it says so: plain sentences, stable codes, nothing private."""

import asyncio
import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from batchmill.api.http import json_body as body_of
from support import server as servers
from support.ring import examples


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A server with low limits."""
    tiers = {
        "anonymous": {"file_bytes": 1_000, "batch_bytes": 5_000, "zip_bytes": 5_000}
        | {"files_per_request": 3}
    }
    folder = tmp_path_factory.mktemp("small")
    with servers.running(folder, tiers=tiers, json_bytes=2_000) as running:
        yield running


def _json(
    server: servers.Server,
    body: bytes | str,
    path: str = "/v1/batches",
    media_type: str = "application/json",
) -> httpx.Response:
    return server.client.post(path, content=body, headers={"Content-Type": media_type})


def _line_to(server: servers.Server) -> socket.socket:
    address = (server.client.base_url.host, server.client.base_url.port)
    return socket.create_connection(address, timeout=60)


def _answer(line: socket.socket) -> bytes:
    """Read until the problem's last brace, or the end."""
    answer = b""
    while not answer.endswith(b"}") and (piece := line.recv(10_000)):
        answer += piece
    return answer


def _refused(answer: httpx.Response, status: int, code: str) -> str:
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["remedy"]
    assert problem["type"] == f"urn:batchmill:error:{code}"
    assert "Traceback" not in answer.text
    return problem["detail"]


def _cursor(key: list[object]) -> str:
    """Return a cursor as the server would write it."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"pipeline": "web", "inputz": []}, "`inputs`"),
        ({"pipeline": "web", "inputs": [{"dta": ""}]}, "`inputs.0` has no field `dta`"),
        ({"pipeline": "web", "priority": "urgent"}, "`priority` must be"),
        ({"pipeline": "web", "concurrency": 0}, "`concurrency` must be"),
        ({"pipeline": "web", "on_failure": {"halt_after": 3}}, "`halt_after_pct`"),
        ({"pipeline": "web", "on_failure": {"halt_after_pct": 101}}, "on_failure.halt_after_pct"),
        ({"pipeline": "web", "inputs": "a.jpg"}, "`inputs` must be"),
        ({"pipeline": "web", "keep_open": [1]}, "`keep_open` must be"),
        ({"inputs": []}, "`pipeline` is missing"),
        ({"pipeline": 3}, "`pipeline` must be"),
        ([], "must be"),
        ({"pipeline": "web", "inputs": [{"data": "no base 64!"}]}, "inputs.0.data"),
        ({"pipeline": "web", "metadata": {"a": "x" * 20_000}}, "`metadata`"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_field_is_named_in_a_plain_sentence(
    server: servers.Server, body: list[Any] | dict[str, Any], said: str
) -> None:
    detail = _refused(server.client.post("/v1/batches", json=body), 422, "invalid_field")

    assert said in detail
    assert "pydantic" not in detail


@pytest.mark.parametrize(
    ("pipeline", "code", "said"),
    [
        ("wab", "unknown_name", "'web'"),
        ({"steps": [{"use": "resise"}]}, "unknown_name", "'resize'"),
        ({"steps": [{"use": "resize", "with": {"widht": 3}}]}, "invalid_option", "'width'"),
        ({"steps": [{"use": "resize", "with": {"width": -3}}]}, "invalid_option", "from 1 to"),
        ({"steps": []}, "invalid_pipeline", "1 to 20 steps"),
        ({"stepz": []}, "unknown_field", "'steps'"),
        ({"steps": [{"use": "resize"}], "output": {"path": "{x}"}}, "invalid_pipeline", "{stem}"),
    ],
)
def test_a_wrong_pipeline_is_refused_with_the_nearest_right_name(
    server: servers.Server, pipeline: str | dict[str, Any], code: str, said: str
) -> None:
    answer = server.client.post("/v1/batches", json={"pipeline": pipeline})

    assert said in _refused(answer, 422, code)


def test_options_of_a_step_that_is_not_there_are_refused(server: servers.Server) -> None:
    body = {"pipeline": "web", "step_options": {"rezise": {}}}

    detail = _refused(server.client.post("/v1/batches", json=body), 422, "unknown_name")
    assert "'resize'" in detail


@pytest.mark.parametrize(
    "body",
    [b"{", b"[1,]", b"\xff\xfe", b'{"pipeline": "\\ud800"}', b"nul", b'{"a": 1e999}', b"NaN"],
)
def test_malformed_json_is_refused(server: servers.Server, body: bytes) -> None:
    _refused(_json(server, body), 400, "malformed_request")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("items?group=ffffffffffffffff", 422),
        ("items?group=-1", 422),
        ("items?start=1000000000000000000000000000000", 422),
        (f"items?cursor={_cursor(['', 10**30])}", 422),
        (f"items?cursor={_cursor(['', -(10**30)])}", 422),
        (f"items?q=x&cursor={_cursor([chr(0), 1])}", 422),
        (f"items?q=x&cursor={_cursor([chr(0xD800), 1])}", 422),
        ("items?q=%00", 400),
        ("items?error=%00", 400),
    ],
)
def test_what_no_database_takes_is_refused_before_one_is_asked(
    server: servers.Server, path: str, status: int
) -> None:
    batch = server.send(b"x")
    answer = server.client.get(f"/v1/batches/{batch['id']}/{path}")
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/webhooks/%00/deliveries", None),
        ("DELETE", "/v1/keys/%00", None),
        ("POST", "/v1/batches", {"pipeline": "web", "keep_open": True, "name": "a\0"}),
        ("POST", "/v1/batches", {"pipeline": "web", "keep_open": True, "metadata": {"\0": 1}}),
        ("POST", "/v1/queue/pause", {"reason": "\0"}),
    ],
)
def test_the_character_that_no_text_has_is_refused_everywhere(
    server: servers.Server, method: str, path: str, body: dict[str, Any] | None
) -> None:
    answer = server.client.request(method, path, json=body)
    assert answer.status_code == (404 if "%00" in path else 400), answer.text


def test_a_group_that_is_no_number_of_ours_cannot_be_retried(server: servers.Server) -> None:
    batch = server.send(b"bad")
    server.wait(batch["id"])
    for group in ("f" * 16, "f" * 40, "1_0", "-1"):
        asked = {"scope": "group", "group": group}
        answer = server.client.post(f"/v1/batches/{batch['id']}/retry", json=asked)
        _refused(answer, 422, "invalid_field")


def test_what_the_server_does_with_a_piece_is_no_silence_of_the_client() -> None:
    async def story() -> list[bytes]:
        messages = [
            {"type": "http.request", "body": b"a", "more_body": True},
            {"type": "http.request", "body": b"b", "more_body": False},
        ]

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        found = []
        request = Request({"type": "http", "method": "POST", "headers": []}, receive)
        async for piece in body_of.stream(request, silence_s=0.05):
            found.append(piece)
            await asyncio.sleep(0.2)  # as long as a full disk or a busy processor may take
        return found

    assert b"".join(asyncio.run(story())) == b"ab"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_know_are_refused(server: servers.Server, number: str) -> None:
    body = f'{{"pipeline": "web", "metadata": {{"n": {number}}}}}'

    assert number in _refused(_json(server, body), 400, "malformed_request")


@pytest.mark.parametrize("depth", [40, 5_000, 200_000])
def test_json_that_is_nested_deeply_is_refused(server: servers.Server, depth: int) -> None:
    body = '{"pipeline": "web", "metadata": {"a": ' + "[" * depth + "]" * depth + "}}"

    _refused(_json(server, body), 413, "too_large")


def test_another_media_type_is_refused(server: servers.Server) -> None:
    _refused(_json(server, "a=b", media_type="text/plain"), 415, "wrong_media_type")


def test_a_body_over_the_limit_is_refused(small: servers.Server) -> None:
    body = json.dumps({"pipeline": "web", "metadata": {"a": "x" * 3_000}})

    assert "the limit of 2 kB; make it smaller, or raise BATCHMILL_JSON_BYTES." in _refused(
        _json(small, body), 413, "too_large"
    )


def test_a_file_over_the_limit_is_refused(small: servers.Server) -> None:
    assert "1 kB; make it smaller, or raise BATCHMILL_TIERS_ANONYMOUS_FILE_BYTES." in _refused(
        small.post_files(b"x" * 1_001), 413, "too_large"
    )
    sent = base64.b64encode(b"x" * 1_001).decode()
    body = {"pipeline": "web", "inputs": [{"data": sent}]}
    _refused(small.client.post("/v1/batches", json=body), 413, "too_large")


def test_too_many_files_are_refused(small: servers.Server) -> None:
    _refused(small.post_files(*[b"x"] * 4), 413, "too_many_files")
    body = {"pipeline": "web", "inputs": [{"data": ""}] * 4}
    _refused(small.client.post("/v1/batches", json=body), 413, "too_many_files")


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_read(
    small: servers.Server,
) -> None:
    head = "POST /v1/batches HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99000000000\r\n"
    with _line_to(small) as line:
        line.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode())
        answer = _answer(line)

    assert answer.startswith(b"HTTP/1.1 413")
    assert b"too_large" in answer


def test_a_body_that_stops_arriving_is_given_up(tmp_path: Path) -> None:
    head = "POST /v1/batches HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n"
    with servers.running(tmp_path, body_timeout_s=0.3) as impatient, _line_to(impatient) as line:
        line.sendall(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
        answer = _answer(line)

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body_timeout" in answer


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(small: servers.Server) -> None:
    head = "POST /v1/batches HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4000\r\n"
    part = '--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nxxxx'
    with _line_to(small) as line:
        line.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n{part}".encode())
        line.shutdown(socket.SHUT_WR)
        _answer(line)

    assert small.eventually(lambda: list(small.context.uploads.iterdir()) == [])


def test_fields_of_a_form_are_checked(server: servers.Server) -> None:
    files = [("files", ("a", b"x"))]

    def send(**fields: str) -> httpx.Response:
        return server.client.post("/v1/batches", files=files, data=fields)

    assert "`pipeline`" in _refused(send(), 422, "invalid_field")
    assert "`pipeline`" in _refused(send(pipelin="web"), 422, "invalid_field")
    assert "`tag`" in _refused(send(pipeline="web", options='{"tagg": "a"}'), 422, "invalid_field")
    _refused(send(pipeline="web", options="{"), 400, "malformed_request")
    wrong = server.client.post("/v1/batches", files=[("file", ("a", b"x"))])
    assert "`files`" in _refused(wrong, 422, "invalid_field")


def test_a_batch_without_files_is_refused_unless_it_stays_open(server: servers.Server) -> None:
    refused = server.client.post("/v1/batches", json={"pipeline": "web"})
    stays = server.client.post("/v1/batches", json={"pipeline": "web", "keep_open": True})

    _refused(refused, 422, "empty_batch")
    assert stays.status_code == 202


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ("GET /v1/nothing", 404, "unknown_path"),
        ("PUT /v1/batches", 405, "wrong_method"),
        ("GET /v1/batches/bat_0", 404, "not_found"),
        ("GET /v1/batches/%00", 404, "not_found"),
        ("GET /v1/items/itm_0", 404, "not_found"),
        ("GET /v1/items/itm_0/outputs/a", 404, "not_found"),
        ("GET /v1/items/itm_0/thumbnail", 404, "not_found"),
        ("GET /v1/batches/bat_0/items", 404, "not_found"),
        ("GET /v1/batches/bat_0/errors", 404, "not_found"),
        ("GET /v1/batches/bat_0/report", 404, "not_found"),
        ("GET /v1/batches/bat_0/results.zip", 404, "not_found"),
        ("PATCH /v1/batches/bat_0", 404, "not_found"),
        ("DELETE /v1/batches/bat_0", 404, "not_found"),
        ("POST /v1/batches/bat_0/pause", 404, "not_found"),
        ("POST /v1/batches/bat_0/retry", 404, "not_found"),
        ("GET /v1/presets/wob", 422, "unknown_name"),
        ("GET /v1/batches?limit=0", 422, "invalid_field"),
        ("GET /v1/batches?status=done", 422, "invalid_field"),
        ("GET /v1/batches?created_after=2026-01-01", 422, "invalid_field"),
        ("GET /v1/batches?cursor=rubbish", 422, "invalid_field"),
        ("GET /v1/batches?cursor=WyJhIiwxXQ", 422, "invalid_field"),
        ("GET /v1/batches?statuss=failed", 422, "invalid_field"),
    ],
)
def test_what_is_not_there_or_not_right_has_its_code(
    server: servers.Server, asked: str, status: int, code: str
) -> None:
    _refused(server.client.request(*asked.split()), status, code)


def test_a_method_that_is_not_taken_is_answered_with_those_that_are(server: servers.Server) -> None:
    assert "GET" in server.client.put("/v1/batches").headers["allow"]


def test_a_batch_of_another_owner_is_as_absent_as_none(server: servers.Server) -> None:
    batch_id = server.send(b"one")["id"]
    server.wait(batch_id)
    (item,) = server.items(batch_id)
    server.give_away(batch_id)

    for path in (
        f"/v1/batches/{batch_id}",
        f"/v1/batches/{batch_id}/items",
        f"/v1/batches/{batch_id}/errors",
        f"/v1/batches/{batch_id}/events",
        f"/v1/batches/{batch_id}/report",
        f"/v1/batches/{batch_id}/results.zip",
        f"/v1/events?batches={batch_id}",
        f"/v1/items/{item['id']}",
        f"/v1/items/{item['id']}/outputs/{item['outputs'][0]['name']}",
        f"/v1/items/{item['id']}/thumbnail",
    ):
        _refused(server.client.get(path), 404, "not_found")
    for verb in ("pause", "resume", "cancel", "close", "retry"):
        _refused(server.client.post(f"/v1/batches/{batch_id}/{verb}"), 404, "not_found")
    _refused(server.client.delete(f"/v1/batches/{batch_id}"), 404, "not_found")
    _refused(server.client.patch(f"/v1/batches/{batch_id}", json={}), 404, "not_found")
    assert batch_id not in server.client.get("/v1/batches?limit=1000").text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example"])
def test_a_request_under_a_foreign_host_name_is_refused(server: servers.Server, host: str) -> None:
    answer = server.client.get("/v1/batches", headers={"Host": host})

    assert answer.status_code in {400, 403}


def test_a_key_is_heard_under_any_host_name_and_a_wrong_one_is_refused(
    server: servers.Server,
) -> None:
    secret = server.client.post("/v1/keys", json={"name": "scraper"}).json()["secret"]
    inside = {"Host": "batchmill.batchmill.svc"}

    def ask(**headers: str) -> int:
        return server.client.get("/metrics", headers={**inside, **headers}).status_code

    assert ask(**{"X-API-Key": secret}) == ask(Authorization=f"Bearer {secret}") == 200
    assert ask(**{"X-API-Key": "made-up"}) == ask(Authorization="Bearer made-up") == 401
    assert ask(**{"X-API-Key": ""}) == ask(Authorization="Basic bWU6bWU=") == 403


def test_health_is_told_under_any_name(server: servers.Server) -> None:
    for path in ("/healthz", "/readyz"):
        assert server.client.get(path, headers={"Host": "10.1.2.3:3001"}).status_code == 200


def test_pages_of_allowed_origins_may_call_and_others_may_not(tmp_path: Path) -> None:
    with servers.running(tmp_path, cors_origins=("https://shop.example",)) as server:
        good, bad = (
            server.client.post(
                "/v1/batches",
                json={"pipeline": "web", "keep_open": True},
                headers={"Origin": origin},
            )
            for origin in ("https://shop.example", "https://evil.example")
        )
        asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
        before = server.client.options("/v1/batches", headers=asked)
        elsewhere = server.client.options("/v1/batches", headers={**asked, "Host": "mill.lan"})

    assert good.status_code == 202
    assert good.headers["access-control-allow-origin"] == "https://shop.example"
    assert "Location" in good.headers["access-control-expose-headers"]
    assert before.status_code == elsewhere.status_code == 200
    assert bad.status_code == 403
    assert "access-control-allow-origin" not in bad.headers


def test_a_page_of_another_site_changes_nothing_here(server: servers.Server) -> None:
    batch_id = server.send(b"one")["id"]
    foreign = {"Origin": "https://evil.example"}
    own = {"Origin": str(server.client.base_url).rstrip("/")}

    for origin in (foreign, {"Origin": "null"}):
        refused = server.client.post(f"/v1/batches/{batch_id}/cancel", headers=origin)
        _refused(refused, 403, "forbidden")
        assert server.client.delete(f"/v1/batches/{batch_id}", headers=origin).status_code == 403
    assert server.client.post(f"/v1/batches/{batch_id}/close", headers=own).status_code == 200
    assert server.client.get(f"/v1/batches/{batch_id}", headers=foreign).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Via"])
def test_a_request_that_came_through_a_proxy_is_not_taken_for_a_local_one(
    server: servers.Server, header: str
) -> None:
    answer = server.client.get("/v1/batches", headers={header: "127.0.0.1"})

    _refused(answer, 401, "unauthenticated")


def test_strangers_without_a_key_see_batches_by_their_address_and_in_no_list(
    tmp_path: Path,
) -> None:
    with servers.running(tmp_path, anonymous="on") as server:
        server.client.headers["X-Forwarded-For"] = "203.0.113.7"
        batch_id = server.send(b"one")["id"]
        listed = server.client.get("/v1/batches").json()
        seen = server.client.get(f"/v1/batches/{batch_id}")

        workers = server.client.get("/v1/workers")

    assert (listed["data"], listed["has_more"]) == ([], False)
    assert workers.status_code == 401
    assert seen.json()["id"] == batch_id


@pytest.mark.parametrize("path", ["/healthz", "/v1/batches", "/v1/nothing", "/v1/presets"])
def test_every_answer_has_the_security_headers(server: servers.Server, path: str) -> None:
    headers = server.client.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"]
    assert "server" not in headers


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    body=st.dictionaries(
        st.sampled_from(["pipeline", "inputs", "metadata", "name", "priority", "x", "keep_open"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
            max_leaves=6,
        ),
    )
)
def test_no_json_makes_the_server_fail(server: servers.Server, body: dict[str, Any]) -> None:
    answer = server.client.post("/v1/batches", json=body)

    assert answer.status_code in {202, 400, 413, 422}, answer.text
