"""Lists: pages that stay right while things change, filters, and answers that need not be sent."""

from typing import Any

import pytest

from support import server as servers


@pytest.fixture(scope="module")
def mixed(running_server: servers.Server) -> str:
    """A batch of twelve ended files in two folders; every third failed."""
    bodies = [b"bad" if n % 3 == 0 else b"good" for n in range(12)]
    names = [f"{'cats' if n % 2 else 'dogs'}/{n:02}.txt" for n in range(12)]
    batch_id = running_server.send(*bodies, names=names)["id"]
    running_server.wait(batch_id)
    return batch_id


def _all(server: servers.Server, path: str, **query: Any) -> list[Any]:
    """Follow the cursors to the end."""
    found, cursor = [], None
    for _ in range(50):
        params = {**query, **({"cursor": cursor} if cursor else {})}
        page = server.client.get(path, params=params).json()
        assert page["has_more"] == (page["next_cursor"] is not None)
        assert len(page["data"]) <= query["limit"]
        found += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found
    raise AssertionError("the pages never end")


@pytest.mark.parametrize("limit", [1, 5, 12, 13])
def test_pages_of_items_are_in_the_order_sent_without_gaps_or_repeats(
    server: servers.Server, mixed: str, limit: int
) -> None:
    items = _all(server, f"/v1/batches/{mixed}/items", limit=limit)

    assert [item["position"] for item in items] == list(range(12))


def test_items_are_found_by_status_and_by_error(server: servers.Server, mixed: str) -> None:
    failed = _all(server, f"/v1/batches/{mixed}/items", status="failed", limit=2)
    by_code = _all(server, f"/v1/batches/{mixed}/items", error="unreadable_file", limit=3)
    (group,) = server.client.get(f"/v1/batches/{mixed}/errors").json()["data"]
    by_group = _all(server, f"/v1/batches/{mixed}/items", group=group["id"], limit=3)

    assert [item["position"] for item in failed] == [0, 3, 6, 9]
    assert failed == by_code == by_group
    assert all(item["error"]["code"] == "unreadable_file" for item in failed)
    assert _all(server, f"/v1/batches/{mixed}/items", error="other", limit=3) == []


def test_a_list_says_that_data_is_left_out(server: servers.Server, mixed: str) -> None:
    page = server.client.get(f"/v1/batches/{mixed}/items").json()

    assert page["left_out"] == ["data"]
    assert {item["data"] is None for item in page["data"]} == {True}


def test_a_list_has_the_fields_that_are_asked_for_and_names_the_others(
    server: servers.Server, mixed: str
) -> None:
    page = server.client.get(f"/v1/batches/{mixed}/items?fields=id,data,status&limit=3").json()

    assert [set(item) for item in page["data"]] == [{"id", "data", "status"}] * 3
    whole = [server.client.get(f"/v1/items/{item['id']}").json() for item in page["data"]]
    assert [item["data"] for item in page["data"]] == [item["data"] for item in whole]
    assert any(item["data"] for item in whole)
    assert sorted([*page["left_out"], "id", "data", "status"]) == sorted(whole[0])


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("fields=id,dota", "`fields` has no field 'dota'. Known: id, "),
        ("fields=", "`fields` has no field ''"),
        ("fields=data&limit=101", "With `data`, `limit` is at most 100."),
    ],
)
def test_fields_that_can_not_be_given_are_refused(
    server: servers.Server, mixed: str, query: str, sentence: str
) -> None:
    answer = server.client.get(f"/v1/batches/{mixed}/items?{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
    assert sentence in answer.json()["detail"]


@pytest.mark.parametrize("start", [0, 5, 11, 12, 10**9])
def test_a_list_can_be_entered_at_any_position(
    server: servers.Server, mixed: str, start: int
) -> None:
    page = server.client.get(f"/v1/batches/{mixed}/items", params={"start": start, "limit": 3})
    entered = [item["position"] for item in page.json()["data"]]
    failed = server.items(mixed, start=start, status="failed")
    grouped = server.items(mixed, start=start, error="unreadable_file")

    assert entered == [n for n in range(12) if n >= start][:3]
    assert page.json()["has_more"] == (start + 3 < 12)
    assert [item["position"] for item in failed] == [n for n in (0, 3, 6, 9) if n >= start]
    assert grouped == failed


@pytest.mark.parametrize("query", ["start=-1", "start=1&q=cats", "start=1&cursor=WyJhIiwxXQ"])
def test_a_position_is_no_place_in_another_order(
    server: servers.Server, mixed: str, query: str
) -> None:
    answer = server.client.get(f"/v1/batches/{mixed}/items?{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


def test_items_are_found_by_the_start_of_their_name(server: servers.Server, mixed: str) -> None:
    cats = _all(server, f"/v1/batches/{mixed}/items", q="cats/", limit=4)

    assert [item["input"]["path"] for item in cats] == [f"cats/{n:02}.txt" for n in range(1, 12, 2)]


@pytest.mark.parametrize("prefix", ["%", "_", "cats%", "CATS", "\U0010ffff"])
def test_a_prefix_is_taken_literally(server: servers.Server, mixed: str, prefix: str) -> None:
    assert _all(server, f"/v1/batches/{mixed}/items", q=prefix, limit=4) == []


def test_pages_of_items_stay_right_while_items_change(server: servers.Server) -> None:
    batch_id = server.send(*[b"wait"] * 6)["id"]
    path = f"/v1/batches/{batch_id}/items"
    first = server.client.get(path, params={"limit": 3}).json()
    server.release()
    server.wait(batch_id)

    rest = server.client.get(path, params={"limit": 3, "cursor": first["next_cursor"]}).json()

    assert [item["position"] for item in first["data"] + rest["data"]] == list(range(6))


def test_pages_of_batches_stay_right_while_batches_come_and_go(server: servers.Server) -> None:
    ids = [server.send(b"x", tag="paged")["id"] for _ in range(5)]
    first = server.client.get("/v1/batches", params={"limit": 2, "tag": "paged"}).json()
    server.send(b"x", tag="paged")
    server.wait(ids[3])
    server.client.delete(f"/v1/batches/{ids[3]}")

    params = {"limit": 10, "tag": "paged", "cursor": first["next_cursor"]}
    rest = server.client.get("/v1/batches", params=params).json()

    assert [batch["id"] for batch in first["data"]] == [ids[4], ids[3]]
    assert [batch["id"] for batch in rest["data"]] == [ids[2], ids[1], ids[0]]


def test_batches_are_found_by_status_and_time(server: servers.Server) -> None:
    batch_id = server.send(b"x", tag="found")["id"]
    batch = server.wait(batch_id)

    def found(**query: Any) -> list[str]:
        listed = server.client.get("/v1/batches", params={"tag": "found", **query}).json()
        return [each["id"] for each in listed["data"]]

    assert found(status="completed") == [batch_id]
    assert found(status="failed") == []
    assert found(created_after="2020-01-01T00:00:00Z") == [batch_id]
    assert found(created_after=batch["ended_at"]) == []


def test_a_status_that_has_not_changed_is_not_sent_again(server: servers.Server) -> None:
    batch_id = server.send(b"x")["id"]
    server.wait(batch_id)
    item = server.items(batch_id)[0]
    for path in (
        f"/v1/batches/{batch_id}",
        f"/v1/batches/{batch_id}/items",
        f"/v1/batches/{batch_id}/errors",
        f"/v1/items/{item['id']}",
        "/v1/presets",
        "/v1/operations",
    ):
        first = server.client.get(path)
        again = server.client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (first.status_code, again.status_code, again.content) == (200, 304, b""), path


def test_a_status_that_has_changed_is_sent_again(server: servers.Server) -> None:
    batch_id = server.send(b"x", keep_open=True)["id"]
    path = f"/v1/batches/{batch_id}"
    server.wait(batch_id, lambda batch: batch["counts"]["completed"] == 1)
    tag = server.client.get(path).headers["etag"]

    server.client.post(f"{path}/close")

    assert server.client.get(path, headers={"If-None-Match": tag}).status_code == 200


def test_a_running_batch_says_when_to_look_again_and_an_ended_one_does_not(
    server: servers.Server,
) -> None:
    batch_id = server.send(b"wait")["id"]
    running = server.client.get(f"/v1/batches/{batch_id}")
    server.release()
    server.wait(batch_id)
    ended = server.client.get(f"/v1/batches/{batch_id}")

    assert 1 <= int(running.headers["retry-after"]) <= 60
    assert "retry-after" not in ended.headers


def test_waiting_batches_have_their_place_in_the_queue(server: servers.Server) -> None:
    blocker = server.send(*[b"wait"] * 40)["id"]
    server.wait(blocker, lambda batch: batch["counts"]["processing"] == 2)
    second, first = (server.send(b"wait", priority=rank)["id"] for rank in ("low", "high"))

    places = [
        server.client.get(f"/v1/batches/{batch_id}").json()["progress"]["position"]
        for batch_id in (blocker, first, second)
    ]
    server.release()

    assert places == [None, 1, 2]
    for batch_id in (blocker, first, second):
        server.client.post(f"/v1/batches/{batch_id}/cancel")


def test_the_catalogue_describes_every_option(server: servers.Server) -> None:
    presets = server.client.get("/v1/presets").json()["data"]
    web = server.client.get("/v1/presets/web").json()
    resize = server.client.get("/v1/operations/resize").json()

    assert web in presets
    assert set(web["options"]) == {step["id"] for step in web["pipeline"]["steps"]}
    assert all("description" in option for option in resize["options"]["properties"].values())
    names = {each["name"] for each in server.client.get("/v1/operations").json()["data"]}
    assert {"resize", "convert"} <= names


def test_the_queue_and_the_workers_are_shown(server: servers.Server) -> None:
    queue = server.client.get("/v1/queue").json()
    workers = server.client.get("/v1/workers").json()["data"]

    assert (queue["slots"], queue["workers"]) == (2, 1)
    assert queue["counts"]["total"] == sum(
        number for status, number in queue["counts"].items() if status != "total"
    )
    assert [worker["slots"] for worker in workers] == [2]
