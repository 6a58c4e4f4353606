"""/v1/webhooks: made, listed, named by batches; deliveries looked at and sent again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from batchmill.service.webhooks import MOST_OF_AN_OWNER
from support import whole_server
from support.pictures import scene
from support.receiver import Receiver, answer
from support.whole_server import WholeServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeServer]:
    settings: dict[str, Any] = {"outgoing_http": True, "outgoing_loopback": True, "sweep_s": 0.05}
    with whole_server.running(tmp_path_factory.mktemp("webhooks"), **settings) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def create(server: WholeServer, url: str, **more: Any) -> httpx.Response:
    return server.client.post("/v1/webhooks", json={"url": url, **more})


@pytest.fixture
def webhook(server: WholeServer, receiver: Receiver) -> Iterator[dict[str, Any]]:
    made = create(server, receiver.url)
    assert made.status_code == 201, made.text
    yield made.json()
    server.client.delete(f"/v1/webhooks/{made.json()['id']}")


def send(server: WholeServer, **options: Any) -> httpx.Response:
    body = {"pipeline": "web", "inputs": [{"data": "aGVsbG8="}], **options}
    return server.client.post("/v1/batches", json=body)


def deliveries(server: WholeServer, webhook: dict[str, Any]) -> str:
    return f"/v1/webhooks/{webhook['id']}/deliveries"


def test_a_batch_that_names_a_webhook_is_told_to_it(
    server: WholeServer, receiver: Receiver, webhook: dict[str, Any]
) -> None:
    sent = send(server, webhook=webhook["id"], name="mine")
    assert (sent.status_code, sent.json()["webhook"]) == (202, webhook["id"])

    (got,) = receiver.until(1)

    message = Verifier(webhook["secret"]).verify(got.body, got.headers)
    assert message["data"]["id"] == sent.json()["id"]
    assert message["data"]["status"] == "failed"
    assert message["data"]["counts"]["failed"] == 1
    told = server.until(deliveries(server, webhook), lambda page: page["data"][0]["ended_at"])
    (delivery,) = told["data"]
    assert delivery["id"] == got.headers["webhook-id"]
    assert (delivery["status"], delivery["answered"], delivery["tries"]) == ("delivered", 200, 1)
    assert delivery["body"] == message


def test_the_address_names_a_webhook_as_well_as_its_id(
    server: WholeServer, receiver: Receiver, webhook: dict[str, Any]
) -> None:
    assert send(server, webhook=receiver.url).json()["webhook"] == webhook["id"]
    receiver.until(1)


def test_a_webhook_of_every_batch_hears_of_those_of_the_reference_dialects(
    server: WholeServer, receiver: Receiver
) -> None:
    made = create(server, receiver.url, every_batch=True).json()
    image = scene(60, 40, seed=1).jpegsave_buffer()

    sent = server.client.post("/api/process/batch", files={"images": ("a.jpg", image)})

    assert sent.json()["batchId"] in receiver.until(1)[0].body.decode()
    server.client.delete(f"/v1/webhooks/{made['id']}")


def test_a_delivery_is_sent_again_with_the_same_id(
    server: WholeServer, receiver: Receiver, webhook: dict[str, Any]
) -> None:
    receiver.behave = lambda guest: answer(guest, 500)
    send(server, webhook=webhook["id"])
    path = deliveries(server, webhook)
    told = server.until(path, lambda page: page["data"] and page["data"][0]["error"])
    (failed,) = told["data"]
    assert (failed["status"], failed["error"]) == ("waiting", "it answers 500")
    receiver.behave = answer

    again = server.client.post(f"{path}/{failed['id']}/resend")

    assert (again.status_code, again.json()["id"]) == (202, failed["id"])
    server.until(path, lambda page: page["data"][0]["status"] == "delivered")
    assert {got.headers["webhook-id"] for got in receiver.got} == {failed["id"]}


def test_deliveries_come_in_pages(
    server: WholeServer, receiver: Receiver, webhook: dict[str, Any]
) -> None:
    sent = [send(server, webhook=webhook["id"]).json()["id"] for _ in range(3)]
    receiver.until(3)
    path = deliveries(server, webhook)

    first = server.client.get(path, params={"limit": 2}).json()
    rest = server.client.get(path, params={"cursor": first["next_cursor"]}).json()

    assert (first["has_more"], rest["has_more"]) == (True, False)
    found = [each["batch_id"] for each in (*first["data"], *rest["data"])]
    assert sorted(found) == sorted(sent)


def test_the_secret_is_shown_once(server: WholeServer, webhook: dict[str, Any]) -> None:
    listed = server.client.get("/v1/webhooks").json()["data"]
    assert webhook["id"] in [each["id"] for each in listed]
    assert all("secret" not in each for each in listed)
    assert webhook["id"].startswith("whk_")
    assert webhook["secret"].startswith("whsec_")


@pytest.mark.parametrize("url", ["ftp://example.com", "nonsense", "http://me:x@example.com", ""])
def test_an_address_that_is_never_called_makes_no_webhook(server: WholeServer, url: str) -> None:
    answered = create(server, url)
    assert (answered.status_code, answered.json()["code"]) == (422, "address_refused")


@pytest.mark.parametrize("name", ["whk_none", "https://example.com/hook"])
def test_a_batch_can_only_name_a_webhook_that_is_there(server: WholeServer, name: str) -> None:
    answered = send(server, webhook=name)
    assert (answered.status_code, answered.json()["code"]) == (422, "invalid_field")
    assert "POST /v1/webhooks" in answered.json()["detail"]


def test_what_is_not_there_is_404(server: WholeServer, webhook: dict[str, Any]) -> None:
    client = server.client
    assert client.delete("/v1/webhooks/whk_none").status_code == 404
    assert client.get("/v1/webhooks/whk_none/deliveries").status_code == 404
    path = f"{deliveries(server, webhook)}/msg_none/resend"
    assert client.post(path).status_code == 404


def test_an_owner_has_a_limited_number_of_webhooks(server: WholeServer, receiver: Receiver) -> None:
    before = len(server.client.get("/v1/webhooks").json()["data"])
    made = [create(server, receiver.url) for _ in range(MOST_OF_AN_OWNER + 1 - before)]

    assert [each.status_code for each in made] == [201] * (len(made) - 1) + [409]
    for each in made[:-1]:
        assert server.client.delete(f"/v1/webhooks/{each.json()['id']}").status_code == 204
    assert len(server.client.get("/v1/webhooks").json()["data"]) == before


def test_strangers_without_a_key_have_no_webhooks(tmp_path: Path, receiver: Receiver) -> None:
    with whole_server.running(tmp_path, anonymous="on", with_worker=False) as server:
        server.client.headers["x-forwarded-for"] = "203.0.113.7"
        assert create(server, receiver.url).status_code == 401
        assert server.client.get("/v1/webhooks").status_code == 401
