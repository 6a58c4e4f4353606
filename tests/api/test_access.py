"""Who may do what: every route with an own, a foreign and an absent id, and without a key."""

import re

import httpx
import pytest

from support import server as servers

OPEN = {"/healthz", "/readyz", "/metrics", "/login", "/openapi.json", "/docs"}
"""Routes that answer everybody."""
TUS = {"Tus-Resumable": "1.0.0", "X-HTTP-Method-Override": "HEAD"} | {
    "Content-Type": "application/offset+octet-stream",
    "Upload-Offset": "0",
}
"""What every request about an upload needs before anybody asks whose it is."""
STRANGER = {"X-Forwarded-For": "203.0.113.7"}
"""Who comes through a proxy is not this machine, whatever the proxy says."""
BODIES = {"retry": {"scope": "failed"}}


@pytest.fixture(scope="module")
def keys(running_server: servers.Server) -> dict[str, str]:
    """The secrets of two ordinary keys of different owners."""
    client = running_server.client
    made = {}
    for owner in ("anna", "berta"):
        answer = client.post("/v1/keys", json={"name": owner, "owner": owner, "tier": "pro"})
        assert answer.status_code == 201, answer.text
        made[owner] = answer.json()["secret"]
    return made


def as_(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture(scope="module")
def annas(running_server: servers.Server, keys: dict[str, str]) -> dict[str, str]:
    """A batch, an item, a job, an upload and a webhook that belong to Anna."""
    client = running_server.client
    headers = as_(keys["anna"])
    sent = client.post(
        "/v1/batches",
        files=[("files", ("a.jpg", b"no picture"))],
        data={"pipeline": "web"},
        headers=headers,
    )
    assert sent.status_code == 202, sent.text
    batch_id = sent.json()["id"]
    items = client.get(f"/v1/batches/{batch_id}/items", headers=headers).json()["data"]
    begun = client.post("/v1/uploads", headers={**headers, **TUS, "Upload-Length": "9"})
    upload_id = begun.headers["location"].rpartition("/")[2]
    hook = client.post("/v1/webhooks", json={"url": "https://example.com"}, headers=headers).json()
    picture = {"image": ("a.png", b"\x89PNG\r\n\x1a\n no picture")}
    job = client.post("/api/process/single", files=picture, headers=headers).json()
    return {
        "job_id": job["jobId"],
        "batch_id": batch_id,
        "item_id": items[0]["id"],
        "upload_id": upload_id,
        "webhook_id": hook["id"],
    }


def routes(client: httpx.Client) -> list[tuple[str, str]]:
    """Return every route to one object; an address with a token in it is itself the permission."""
    paths = client.get("/openapi.json").json()["paths"]
    return [
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if re.search("{(batch|item|job|upload|webhook)_id}", path) and "{token}" not in path
    ]


def ask(
    client: httpx.Client, method: str, path: str, ids: dict[str, str], *, headers: dict[str, str]
) -> int:
    filled = re.sub(r"{(\w+)}", lambda match: ids.get(match[1], "x"), path)
    body = BODIES.get(path.rpartition("/")[2])
    headers = headers | (TUS if "{upload_id}" in path else {})
    with client.stream(method, filled, headers=headers, json=body) as answer:
        return answer.status_code


def test_somebody_elses_object_is_as_absent_as_none_on_every_route(
    running_server: servers.Server, keys: dict[str, str], annas: dict[str, str]
) -> None:
    client = running_server.client
    absent = {name: value[:-4] + "0000" for name, value in annas.items()}
    known = routes(client)
    assert len(known) > 25
    for method, path in known:
        foreign = ask(client, method, path, annas, headers=as_(keys["berta"]))
        nobody = ask(client, method, path, absent, headers=as_(keys["anna"]))
        without = ask(client, method, path, annas, headers=STRANGER)
        assert (foreign, nobody, without) == (404, 404, 401), (method, path)


def test_the_owner_reads_its_own(
    running_server: servers.Server, keys: dict[str, str], annas: dict[str, str]
) -> None:
    client = running_server.client
    headers = as_(keys["anna"])
    for path in ("", "/items", "/errors", "/plan", "/report?format=csv"):
        assert client.get(f"/v1/batches/{annas['batch_id']}{path}", headers=headers).is_success
    for path in (f"/v1/items/{annas['item_id']}", f"/api/job/{annas['job_id']}"):
        assert client.get(path, headers=headers).is_success
    assert client.head(f"/v1/uploads/{annas['upload_id']}", headers=headers | TUS).is_success
    assert client.get(f"/v1/webhooks/{annas['webhook_id']}/deliveries", headers=headers).is_success
    listed = client.get("/v1/batches", headers=headers).json()["data"]
    assert annas["batch_id"] in [batch["id"] for batch in listed]
    assert client.get("/v1/batches", headers=as_(keys["berta"])).json()["data"] == []


def test_a_wrong_or_revoked_key_is_refused_on_every_route(
    running_server: servers.Server, annas: dict[str, str]
) -> None:
    client = running_server.client
    made = client.post("/v1/keys", json={"name": "short-lived"}).json()
    assert client.delete(f"/v1/keys/{made['id']}").status_code == 204
    for secret in ("bm_wrong", made["secret"], "nonsense"):
        for method, path in routes(client):
            assert ask(client, method, path, annas, headers=as_(secret)) == 401, (method, path)


def test_a_reading_key_changes_nothing(running_server: servers.Server) -> None:
    client = running_server.client
    made = client.post(
        "/v1/keys", json={"name": "reader", "owner": "carla", "scopes": ["read"]}
    ).json()
    headers = as_(made["secret"])
    assert client.get("/v1/batches", headers=headers).status_code == 200
    refused = client.post(
        "/v1/batches", files=[("files", ("a", b"x"))], data={"pipeline": "web"}, headers=headers
    )
    assert refused.status_code == 403
    assert refused.json()["code"] == "forbidden"


def test_an_ordinary_key_cannot_make_or_revoke_keys(
    running_server: servers.Server, keys: dict[str, str]
) -> None:
    client = running_server.client
    headers = as_(keys["anna"])
    assert client.post("/v1/keys", json={"name": "x"}, headers=headers).status_code == 403
    own = client.get("/v1/keys", headers=headers).json()["data"]
    assert [key["owner"] for key in own] == ["anna"]
    assert client.delete(f"/v1/keys/{own[0]['id']}", headers=headers).status_code == 403


def test_the_tier_comes_from_the_key_and_not_from_the_request(
    running_server: servers.Server, keys: dict[str, str]
) -> None:
    client = running_server.client
    sent = {"pipeline": "web", "options": '{"priority": "high"}'}
    files = [("files", ("a.jpg", b"x"))]
    plain = client.post("/v1/batches", files=files, data=sent).json()
    paid = client.post("/v1/batches", files=files, data=sent, headers=as_(keys["anna"])).json()
    assert (plain["priority"], paid["priority"]) == (1510, 210)


def test_a_key_is_taken_from_a_header_or_the_cookie(
    running_server: servers.Server, keys: dict[str, str], annas: dict[str, str]
) -> None:
    client = running_server.client
    address = f"/v1/batches/{annas['batch_id']}"
    assert client.get(address, headers={"X-API-Key": keys["anna"]}).is_success
    assert client.get(address, headers={"Cookie": f"batchmill_key={keys['anna']}"}).is_success
