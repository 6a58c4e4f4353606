"""Streams of events: what a listener is told, and what one hears who comes back."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from batchmill.api import event_hub
from batchmill.db import batches
from batchmill.model.batch import BatchId
from support import server as servers
from support.whole_server import WholeServer


@dataclass
class Message:
    name: str
    id: str
    body: dict[str, Any]


@contextmanager
def listening(
    server: servers.Server | WholeServer, path: str, **headers: Any
) -> Iterator[Iterator[Message]]:
    with server.client.stream("GET", path, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _messages(answer.iter_lines())


def _messages(lines: Iterator[str]) -> Iterator[Message]:
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Message(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
            fields = {}


def test_a_stream_begins_with_the_present_state_and_ends_with_the_batch(
    server: servers.Server,
) -> None:
    batch_id = server.send(b"wait", b"bad")["id"]

    with listening(server, f"/v1/batches/{batch_id}/events") as messages:
        first = next(messages)
        server.release()
        rest = list(messages)

    assert (first.name, first.body["id"]) == ("batch.updated", batch_id)
    assert rest[-1].name == "batch.completed"
    assert rest[-1].body["status"] == "completed_with_errors"
    revisions = [int(message.id) for message in [first, *rest]]
    assert revisions == sorted(revisions)


def test_items_are_told_of_as_they_end(server: servers.Server) -> None:
    batch_id = server.send(b"wait", keep_open=True)["id"]
    server.wait(batch_id, lambda batch: batch["counts"]["processing"] == 1)

    with listening(server, f"/v1/batches/{batch_id}/events") as messages:
        told = {}
        server.release()
        server.client.post(f"/v1/batches/{batch_id}/items", files=[("files", ("bad.txt", b"bad"))])
        server.client.post(f"/v1/batches/{batch_id}/close")
        for message in messages:
            if message.name in {"item.completed", "item.failed"}:
                told[message.body["name"]] = message.body

    assert told["file-0.txt"]["status"] == "completed"
    assert told["bad.txt"]["error"]["code"] == "unreadable_file"


def test_many_items_at_once_are_told_of_in_one_message(server: servers.Server) -> None:
    batch_id = server.send(*[b"wait"] * 2, keep_open=True)["id"]
    with listening(server, f"/v1/batches/{batch_id}/events") as messages:
        next(messages)
        for _ in range(3):
            server.client.post(
                f"/v1/batches/{batch_id}/items",
                files=[("files", (f"{n}", b"wait")) for n in range(50)],
            )
        server.client.post(f"/v1/batches/{batch_id}/cancel")
        names = [message.name for message in messages]

    assert "items.changed" in names
    assert names.count("batch.updated") <= 20


def test_percent_never_goes_back_in_a_stream(server: servers.Server) -> None:
    batch_id = server.send(*[b"x"] * 40)["id"]

    with listening(server, f"/v1/batches/{batch_id}/events") as messages:
        told = [m.body["progress"]["percent"] for m in messages if m.name.startswith("batch.")]

    assert told == sorted(told)
    assert told[-1] == 100


def test_who_comes_back_gets_the_present_state_and_is_told_to_look_at_the_items(
    server: servers.Server,
) -> None:
    batch_id = server.send(b"one", keep_open=True)["id"]
    before = server.wait(batch_id, lambda batch: batch["counts"]["completed"] == 1)

    path = f"/v1/batches/{batch_id}/events"
    with listening(server, path, **{"Last-Event-ID": "1"}) as messages:
        told = [next(messages), next(messages)]

    assert {message.name for message in told} == {"batch.updated", "items.changed"}
    assert told[0].body["revision"] == before["revision"]


def test_who_has_seen_the_end_is_told_to_stop_connecting(server: servers.Server) -> None:
    batch_id = server.send(b"one")["id"]
    server.wait(batch_id)
    path = f"/v1/batches/{batch_id}/events"
    with listening(server, path) as messages:
        last = list(messages)[-1]

    again = server.client.get(path, headers={"Last-Event-ID": last.id})

    assert again.status_code == 204


def test_one_stream_tells_of_several_batches_and_of_their_deletion(server: servers.Server) -> None:
    ids = [server.send(b"one", keep_open=True)["id"] for _ in range(2)]

    with listening(server, f"/v1/events?batches={','.join(ids)}") as messages:
        assert {next(messages).body["id"] for _ in ids} == set(ids)
        for batch_id in ids:
            server.client.post(f"/v1/batches/{batch_id}/close")
        ended = {m.body["id"] for m in _until(messages, "batch.completed", 2)}
        server.client.delete(f"/v1/batches/{ids[0]}")
        (gone,) = _until(messages, "batch.deleted", 1)

    assert ended == set(ids)
    assert gone.body["id"] == ids[0]


def test_a_retried_batch_goes_on_in_the_same_stream(server: servers.Server) -> None:
    batch_id = server.send(b"bad")["id"]
    server.wait(batch_id)

    with listening(server, f"/v1/events?batches={batch_id}") as messages:
        _until(messages, "batch.completed", 1)
        server.client.post(f"/v1/batches/{batch_id}/retry")
        (again,) = _until(messages, "batch.completed", 1)

    assert again.body["run"] == 2


def test_a_listener_that_leaves_is_forgotten(server: servers.Server) -> None:
    batch_id = server.send(b"one", keep_open=True)["id"]
    live = server.live
    with listening(server, f"/v1/batches/{batch_id}/events") as messages:
        next(messages)
        assert len(live.listeners) == 1

    for _ in range(200):
        if not live.listeners:
            return
        threading.Event().wait(0.02)
    pytest.fail("the stream is still there")


def test_what_waits_for_a_listener_is_sent_in_one_part(server: servers.Server) -> None:
    batch_id = BatchId(server.send(b"one", keep_open=True)["id"])

    async def first_part() -> bytes:
        batch = await server.context.database.read(batches.get_any, batch_id)
        assert batch is not None
        with server.live.listen([batch]) as listener:
            listener.push(b"event: one\n\n")
            listener.push(b"event: two\n\n")
            return await anext(server.live.messages(listener, until_ended=False))

    part = server.run(first_part())
    assert part.startswith(b"event: batch.updated")
    assert part.endswith(b"event: one\n\nevent: two\n\n")


def test_a_crowd_is_told_less_often_and_few_as_often_as_one() -> None:
    assert event_hub.tick_s(1) == event_hub.tick_s(100) == event_hub.TICK_S
    assert event_hub.tick_s(400) == 1


def test_streams_of_unknown_batches_are_refused(server: servers.Server) -> None:
    assert server.client.get("/v1/batches/bat_0/events").status_code == 404
    assert server.client.get("/v1/events?batches=bat_0").status_code == 404
    assert server.client.get("/v1/events?batches=,").status_code == 422


def _until(messages: Iterator[Message], name: str, number: int) -> list[Message]:
    found: list[Message] = []
    for message in messages:
        if message.name == name:
            found.append(message)
        if len(found) == number:
            break
    return found
