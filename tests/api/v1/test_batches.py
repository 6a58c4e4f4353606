"""Sending, watching and steering batches over a real socket."""

import json

from support import server as servers


def test_files_that_are_sent_come_back_processed(server: servers.Server) -> None:
    accepted = server.post_files(b"one", b"two", name="pair", metadata={"for": "a test"})

    assert accepted.status_code == 202
    batch_id = accepted.json()["id"]
    assert accepted.headers["location"] == f"/v1/batches/{batch_id}"
    batch = server.wait(batch_id)
    assert batch["status"] == "completed"
    assert batch["counts"]["completed"] == batch["counts"]["total"] == 2
    assert batch["progress"]["percent"] == 100
    assert (batch["name"], batch["metadata"]) == ("pair", {"for": "a test"})
    for item, body in zip(server.items(batch_id), (b"eno", b"owt"), strict=True):
        assert server.client.get(item["outputs"][0]["url"]).content == body


def test_a_batch_can_be_sent_as_json(server: servers.Server) -> None:
    answer = server.client.post(
        "/v1/batches",
        json={
            "pipeline": {"steps": [{"use": "convert", "with": {"format": "webp"}}]},
            "inputs": [{"name": "a.txt", "custom_id": "mine", "data": "aGVsbG8="}],
        },
    )

    assert answer.status_code == 202, answer.text
    server.wait(answer.json()["id"])
    (item,) = server.items(answer.json()["id"])
    assert item["custom_id"] == "mine"
    assert server.client.get(item["outputs"][0]["url"]).content == b"olleh"


def test_a_paused_batch_starts_nothing_until_it_is_resumed(server: servers.Server) -> None:
    batch_id = server.send(b"wait 1", b"wait 2", b"wait 3", concurrency=1)["id"]
    server.wait(batch_id, lambda batch: batch["counts"]["processing"] == 1)

    paused = server.client.post(f"/v1/batches/{batch_id}/pause").json()
    assert paused["paused"]
    server.release()
    one = server.wait(batch_id, lambda batch: batch["counts"]["completed"] == 1)
    assert one["counts"]["processing"] == 0

    assert not server.client.post(f"/v1/batches/{batch_id}/resume").json()["paused"]
    assert server.wait(batch_id)["counts"]["completed"] == 3


def test_a_cancelled_batch_keeps_its_results(server: servers.Server) -> None:
    batch_id = server.send(b"done", concurrency=1, keep_open=True)["id"]
    server.wait(batch_id, lambda batch: batch["counts"]["completed"] == 1)

    cancelled = server.client.post(f"/v1/batches/{batch_id}/cancel").json()

    assert cancelled["status"] == "cancelled"
    assert cancelled["counts"]["completed"] == 1
    again = server.client.post(f"/v1/batches/{batch_id}/cancel")
    assert again.status_code == 200
    resumed = server.client.post(f"/v1/batches/{batch_id}/resume")
    assert (resumed.status_code, resumed.json()["code"]) == (409, "conflict")


def test_an_open_batch_takes_files_until_it_is_closed(server: servers.Server) -> None:
    batch_id = server.send(b"first", keep_open=True)["id"]
    waiting = server.wait(batch_id, lambda batch: batch["counts"]["completed"] == 1)
    assert waiting["progress"]["percent"] is None

    more = server.client.post(f"/v1/batches/{batch_id}/items", files=[("files", ("b", b"second"))])
    assert (more.status_code, more.json()["added"]) == (202, 1)
    server.client.post(f"/v1/batches/{batch_id}/close")

    assert server.wait(batch_id)["counts"]["completed"] == 2
    late = server.client.post(f"/v1/batches/{batch_id}/items", files=[("files", ("c", b"late"))])
    assert late.status_code == 409


def test_failures_are_grouped_and_one_group_is_retried(server: servers.Server) -> None:
    batch_id = server.send(b"bad 1", b"bad 2", b"good")["id"]
    ended = server.wait(batch_id)
    assert ended["status"] == "completed_with_errors"

    (group,) = server.client.get(f"/v1/batches/{batch_id}/errors").json()["data"]
    assert (group["code"], group["count"]) == ("unreadable_file", 2)
    assert len(group["samples"]) == 2
    retried = server.client.post(
        f"/v1/batches/{batch_id}/retry", json={"scope": "group", "group": group["id"]}
    ).json()

    assert retried["retried"] == 2
    assert retried["batch"]["run"] == 2
    again = server.wait(batch_id)
    assert (again["counts"]["failed"], again["counts"]["completed"]) == (2, 1)
    assert again["progress"]["percent"] == 100


def test_chosen_items_are_retried(server: servers.Server) -> None:
    batch_id = server.send(b"bad 1", b"bad 2")["id"]
    server.wait(batch_id)
    first = server.items(batch_id)[0]["id"]

    answer = server.client.post(
        f"/v1/batches/{batch_id}/retry", json={"scope": "ids", "ids": [first]}
    )

    assert answer.json()["retried"] == 1


def test_a_deleted_batch_is_gone_with_its_bytes(server: servers.Server) -> None:
    batch_id = server.send(b"one")["id"]
    server.wait(batch_id)
    item = server.items(batch_id)[0]

    assert server.client.delete(f"/v1/batches/{batch_id}").status_code == 204

    assert server.client.get(f"/v1/batches/{batch_id}").status_code == 404
    assert server.client.get(f"/v1/items/{item['id']}").status_code == 404
    assert server.client.get(item["outputs"][0]["url"]).status_code == 404


def test_a_batch_is_renamed_and_keeps_what_is_left_out(server: servers.Server) -> None:
    batch_id = server.send(b"one", name="old", tag="kept")["id"]

    changed = server.client.patch(f"/v1/batches/{batch_id}", json={"name": "new"}).json()

    assert (changed["name"], changed["tag"]) == ("new", "kept")


def test_step_options_replace_those_of_the_preset(server: servers.Server) -> None:
    batch = server.send(b"one", step_options={"convert": {"quality": 31}})

    (options,) = [s["with"] for s in batch["pipeline"]["steps"] if s["use"] == "convert"]
    assert options["quality"] == 31


def test_options_of_one_step_win_over_those_of_all_steps_of_its_operation(
    server: servers.Server,
) -> None:
    steps = [{"use": "resize", "id": "small"}, {"use": "resize", "id": "large"}]
    options = {"small": {"width": 10}, "resize": {"width": 20, "height": 30}}

    answer = server.client.post(
        "/v1/batches",
        files=[("files", ("a", b"one"))],
        data={
            "pipeline": json.dumps({"steps": steps}),
            "options": json.dumps({"step_options": options}),
        },
    )

    made = [step["with"] for step in answer.json()["pipeline"]["steps"]]
    assert [(step["width"], step["height"]) for step in made] == [(10, 30), (20, 30)]


def test_the_pipelines_own_name_is_told(server: servers.Server) -> None:
    answer = server.client.post(
        "/v1/batches",
        files=[("files", ("a", b"one"))],
        data={"pipeline": '{"name": "shop", "steps": [{"use": "resize"}]}'},
    )

    assert answer.json()["pipeline"]["name"] == "shop"


def test_nothing_is_left_of_a_request_that_was_refused(server: servers.Server) -> None:
    before = _ids(server)

    answer = server.client.post(
        "/v1/batches", files=[("files", ("a", b"x" * 100_000))], data={"pipeline": "wob"}
    )

    assert answer.status_code == 422
    assert list(server.context.uploads.iterdir()) == []
    assert _ids(server) == before


def _ids(server: servers.Server) -> list[str]:
    return [batch["id"] for batch in server.client.get("/v1/batches").json()["data"]]
