"""A request that is repeated under its Idempotency-Key does nothing twice."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from batchmill.api.http.idempotency import GIVEN_UP_AFTER_MS
from batchmill.db import idempotency
from batchmill.db.types import at, to_ms
from batchmill.model.batch import LOCAL_OWNER
from support import server as servers


@pytest.fixture
def key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


def _reserve(server: servers.Server, key: dict[str, str], digest: str, age_ms: int = 0) -> None:
    """Leave a reservation as a request does that is still running, or died."""
    past = to_ms(datetime.now(UTC) - timedelta(milliseconds=age_ms))
    server.run(
        server.context.database.run(
            idempotency.begin,
            LOCAL_OWNER,
            key["Idempotency-Key"],
            body_sha256=digest,
            now=at(past),
        )
    )


def _digest(server: servers.Server, key: dict[str, str]) -> str:
    kept = server.run(
        server.context.database.read(idempotency.get, LOCAL_OWNER, key["Idempotency-Key"])
    )
    assert kept is not None
    return kept.body_sha256


def test_a_repeated_upload_makes_one_batch(server: servers.Server, key: dict[str, str]) -> None:
    first = server.post_files(b"one", b"two", headers=key)
    again = server.post_files(b"one", b"two", headers=key)

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers


@pytest.mark.parametrize(
    "other",
    [
        {"bodies": (b"one", b"2")},
        {"bodies": (b"one",)},
        {"bodies": (b"two", b"one")},
        {"bodies": (b"one", b"two"), "tag": "other"},
        {"bodies": (b"one", b"two"), "names": ["x", "y"]},
    ],
)
def test_another_upload_under_the_same_key_is_refused(
    server: servers.Server, key: dict[str, str], other: dict[str, Any]
) -> None:
    server.post_files(b"one", b"two", headers=key)

    answer = server.post_files(*other.pop("bodies"), headers=key, **other)

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")


def test_the_same_key_at_another_address_is_refused(
    server: servers.Server, key: dict[str, str]
) -> None:
    batch_id = server.send(b"one", keep_open=True)["id"]
    server.client.post(f"/v1/batches/{batch_id}/pause", headers=key)

    answer = server.client.post(f"/v1/batches/{batch_id}/resume", headers=key)

    assert answer.status_code == 422


def test_repeats_at_the_same_time_make_one_batch(
    server: servers.Server, key: dict[str, str]
) -> None:
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: server.post_files(b"one", headers=key), range(6)))

    codes = {answer.status_code for answer in answers}
    assert codes <= {202, 409}
    assert len({a.json()["id"] for a in answers if a.status_code == 202}) == 1


def test_a_repeat_while_the_first_is_running_is_told_to_wait(
    server: servers.Server, key: dict[str, str]
) -> None:
    server.post_files(b"one", headers=key)
    other = {"Idempotency-Key": uuid4().hex}
    _reserve(server, other, _digest(server, key))

    answer = server.post_files(b"one", headers=other)

    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_flight")


def test_a_key_whose_request_died_unanswered_is_free_again(
    server: servers.Server, key: dict[str, str]
) -> None:
    server.post_files(b"one", headers=key)
    other = {"Idempotency-Key": uuid4().hex}
    _reserve(server, other, _digest(server, key), age_ms=GIVEN_UP_AFTER_MS + 1_000)

    assert server.post_files(b"one", headers=other).status_code == 202


def test_a_request_that_was_refused_may_be_repeated_with_the_same_key(
    server: servers.Server, key: dict[str, str]
) -> None:
    refused = server.client.post("/v1/batches", json={"pipeline": "web"}, headers=key)
    corrected = {"pipeline": "web", "keep_open": True}

    assert refused.status_code == 422
    assert server.client.post("/v1/batches", json=corrected, headers=key).status_code == 202


def test_a_repeated_addition_adds_once(server: servers.Server, key: dict[str, str]) -> None:
    batch_id = server.send(b"one", keep_open=True)["id"]
    for _ in range(2):
        answer = server.client.post(
            f"/v1/batches/{batch_id}/items", files=[("files", ("b", b"two"))], headers=key
        )
        assert answer.json()["added"] == 1

    assert server.client.get(f"/v1/batches/{batch_id}").json()["counts"]["total"] == 2


def test_a_repeated_retry_retries_once(server: servers.Server, key: dict[str, str]) -> None:
    batch_id = server.send(b"bad")["id"]
    server.wait(batch_id)
    url = f"/v1/batches/{batch_id}/retry"
    first = server.client.post(url, headers=key).json()
    server.wait(batch_id)

    again = server.client.post(url, headers=key).json()

    assert again == first
    assert server.client.get(f"/v1/batches/{batch_id}").json()["run"] == 2


def test_a_repeated_single_file_is_processed_once(
    server: servers.Server, key: dict[str, str]
) -> None:
    def ask() -> Any:
        files = [("files", ("a.txt", b"one"))]
        return server.client.post(
            "/v1/process", files=files, data={"pipeline": "web"}, headers=key
        ).json()

    first = ask()
    assert first["status"] == "completed"
    assert ask()["batch_id"] == first["batch_id"]


def test_the_answer_is_kept_with_the_start_of_the_batch(
    server: servers.Server, key: dict[str, str]
) -> None:
    """Whatever happens after the commit, the key knows the batch: there is no second one."""
    accepted = server.post_files(b"one", headers=key).json()

    kept = server.run(
        server.context.database.read(idempotency.get, LOCAL_OWNER, key["Idempotency-Key"])
    )

    assert kept is not None
    assert kept.status_code == 202
    assert accepted["id"] in kept.headers["location"]


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
def test_a_key_that_is_no_key_is_refused(server: servers.Server, key: str) -> None:
    answer = server.post_files(b"one", headers={"Idempotency-Key": key})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


@pytest.mark.parametrize(("minutes", "status"), [(9, 409), (11, 202)])
def test_a_request_without_an_answer_is_given_up_after_ten_minutes(
    server: servers.Server, key: dict[str, str], minutes: int, status: int
) -> None:
    server.post_files(b"one", headers=key)
    digest = _digest(server, key)
    other = {"Idempotency-Key": uuid4().hex}
    _reserve(server, other, digest, age_ms=minutes * 60_000)

    assert server.post_files(b"one", headers=other).status_code == status


def test_another_request_while_the_first_is_being_answered_is_told_so(
    server: servers.Server, key: dict[str, str]
) -> None:
    _reserve(server, key, "of something else")

    answer = server.post_files(b"one", headers=key)

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")


def test_two_owners_may_use_the_same_key(server: servers.Server, key: dict[str, str]) -> None:
    made = server.client.post("/v1/keys", json={"name": "a", "owner": "anna", "tier": "pro"})
    annas = {**key, "Authorization": f"Bearer {made.json()['secret']}"}

    first, second = server.post_files(b"one", headers=key), server.post_files(b"2", headers=annas)

    again = server.post_files(b"one", headers=key)

    assert (first.status_code, second.status_code, again.status_code) == (202, 202, 202)
    assert first.json()["id"] == again.json()["id"] != second.json()["id"]


def test_an_answer_that_was_kept_is_not_forgotten(
    server: servers.Server, key: dict[str, str]
) -> None:
    first = server.post_files(b"one", headers=key)
    server.run(server.context.database.run(idempotency.forget, LOCAL_OWNER, key["Idempotency-Key"]))

    assert server.post_files(b"one", headers=key).json()["id"] == first.json()["id"]
