"""The queue as a whole: what waits, who is next, stopping everything for a while."""

from typing import Any

import pytest

from support import server as servers


@pytest.fixture
def berta(server: servers.Server) -> dict[str, str]:
    """The headers of somebody who is no administrator."""
    made = server.client.post("/v1/keys", json={"name": "berta", "owner": "berta"}).json()
    return {"X-API-Key": made["secret"]}


@pytest.fixture
def admin(server: servers.Server) -> dict[str, str]:
    made = server.client.post("/v1/keys", json={"name": "admin", "scopes": ["admin"]}).json()
    return {"X-API-Key": made["secret"]}


def test_the_queue_is_told_by_family_tier_and_rank(
    server: servers.Server, berta: dict[str, str], admin: dict[str, str]
) -> None:
    own = server.post_files(b"wait", b"wait", b"wait", headers=berta, priority="high").json()
    assert server.eventually(
        lambda: server.client.get("/v1/queue", headers=berta).json()["counts"]["processing"] > 0
    )

    queue = server.client.get("/v1/queue", headers=berta).json()
    (lane,) = queue["lanes"]
    everybodys = server.client.get("/v1/queue", headers=admin).json()
    server.release()
    server.client.delete(f"/v1/batches/{own['id']}", headers=berta)

    assert (lane["family"], lane["tier"], lane["rank"]) == ("images", "free", "high")
    assert (lane["batches"], lane["counts"]["total"]) == (1, 3)
    assert lane["oldest_at"] == own["created_at"]
    assert queue["last_day"]["total"] == 3
    assert everybodys["counts"]["total"] >= 3
    assert queue["free_bytes"] > 0


def test_what_ended_lately_is_counted(server: servers.Server, berta: dict[str, str]) -> None:
    before = server.client.get("/v1/queue", headers=berta).json()["ended"]
    batch_id = server.post_files(b"one", b"bad", headers=berta).json()["id"]
    done = f"/v1/batches/{batch_id}"
    assert server.eventually(lambda: server.client.get(done, headers=berta).json()["ended_at"])

    after = server.client.get("/v1/queue", headers=berta).json()["ended"]

    assert after == {"minute": before["minute"] + 2, "hour": before["hour"] + 2}


def test_waiting_batches_are_numbered_in_the_order_in_which_they_come(
    server: servers.Server, berta: dict[str, str]
) -> None:
    server.client.post("/v1/queue/pause", json={"reason": "counting"})
    low, high, normal = (
        server.post_files(b"x", headers=berta, priority=rank).json()["id"]
        for rank in ("low", "high", "normal")
    )

    listed = server.client.get("/v1/batches?active=true", headers=berta).json()["data"]
    places = {each["id"]: each["progress"]["position"] for each in listed}
    server.client.post("/v1/queue/resume")

    assert places[high] < places[normal] < places[low]


def test_an_administrator_pauses_and_resumes_all_work(
    server: servers.Server, berta: dict[str, str]
) -> None:
    paused = server.client.post("/v1/queue/pause", json={"reason": "new disk"}).json()
    batch_id = server.post_files(b"one", headers=berta).json()["id"]
    seen = server.client.get("/v1/queue", headers=berta).json()
    waiting = server.client.get(f"/v1/batches/{batch_id}", headers=berta).json()
    resumed = server.client.post("/v1/queue/resume").json()
    ended = f"/v1/batches/{batch_id}"

    assert (paused["paused"], paused["pause_reason"]) == (True, "new disk")
    assert (seen["paused"], seen["pause_reason"]) == (True, "new disk")
    assert seen["paused_at"] is not None
    assert waiting["counts"]["pending"] == 1
    assert not resumed["paused"]
    assert server.eventually(lambda: server.client.get(ended, headers=berta).json()["ended_at"])


def test_only_an_administrator_pauses_the_queue(
    server: servers.Server, berta: dict[str, str]
) -> None:
    for action in ("pause", "resume"):
        refused = server.client.post(f"/v1/queue/{action}", json={}, headers=berta)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert not server.client.get("/v1/queue").json()["paused"]


def test_where_workers_run_is_told_to_administrators_alone(
    server: servers.Server, berta: dict[str, str]
) -> None:
    ours = server.client.get("/v1/workers").json()["data"]
    bertas = server.client.get("/v1/workers", headers=berta).json()["data"]

    assert all(worker["host"] and worker["pid"] for worker in ours)
    assert [(worker["host"], worker["pid"]) for worker in bertas] == [(None, None)] * len(ours)
    assert [worker["id"] for worker in bertas] == [worker["id"] for worker in ours]


def test_a_worker_says_what_it_has_in_hand_and_when_it_was_seen(
    server: servers.Server, berta: dict[str, str]
) -> None:
    batch_id = server.post_files(b"wait", headers=berta).json()["id"]

    def worker() -> dict[str, Any]:
        return server.client.get("/v1/workers").json()["data"][0]

    assert server.eventually(lambda: worker()["running"] == 1)
    seen = worker()
    server.release()
    server.client.delete(f"/v1/batches/{batch_id}", headers=berta)

    assert seen["started_at"] <= seen["seen_at"] < seen["lease_until"]


def test_an_administrator_pauses_one_worker_and_every_list_says_why(
    server: servers.Server, berta: dict[str, str]
) -> None:
    (worker,) = server.client.get("/v1/workers").json()["data"]
    own = f"/v1/workers/{worker['id']}"
    paused = server.client.post(f"{own}/pause", json={"reason": "new disk"})
    (seen,) = server.client.get("/v1/workers", headers=berta).json()["data"]
    slots = server.client.get("/v1/queue").json()["slots"]
    batch_id = server.post_files(b"one", headers=berta).json()["id"]
    waiting = server.client.get(f"/v1/batches/{batch_id}", headers=berta).json()
    resumed = server.client.post(f"{own}/resume")
    ended = f"/v1/batches/{batch_id}"

    assert (worker["paused"], worker["pause_reason"]) == (False, None)
    assert (paused.status_code, paused.json()["pause_reason"]) == (200, "new disk")
    assert (seen["paused"], seen["pause_reason"], seen["host"]) == (True, "new disk", None)
    assert slots == 0
    assert waiting["counts"]["pending"] == 1
    assert (resumed.status_code, resumed.json()["paused"]) == (200, False)
    assert server.eventually(lambda: server.client.get(ended, headers=berta).json()["ended_at"])


def test_only_an_administrator_pauses_a_worker_and_only_one_that_there_is(
    server: servers.Server, berta: dict[str, str]
) -> None:
    (worker,) = server.client.get("/v1/workers").json()["data"]
    for action in ("pause", "resume"):
        own = f"/v1/workers/{worker['id']}/{action}"
        refused = server.client.post(own, json={}, headers=berta)
        missed = server.client.post(f"/v1/workers/wrk_gone/{action}", json={})
        wrong = server.client.post(own, json={"why": "lunch"})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert (missed.status_code, missed.json()["code"]) == (404, "not_found")
        assert wrong.status_code == 422
    assert not server.client.get("/v1/workers").json()["data"][0]["paused"]
