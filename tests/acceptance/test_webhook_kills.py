"""A server that is killed while it tells of a batch's end tells of it again."""

from pathlib import Path

from standardwebhooks.webhooks import Webhook as Verifier

from support import receiver as receivers
from support.processes import serving
from support.receiver import Receiver, answer

SETTINGS = {
    "BATCHMILL_OUTGOING_HTTP": "true",
    "BATCHMILL_OUTGOING_LOOPBACK": "true",
    "BATCHMILL_WEBHOOK_TIMEOUT_S": "1",
}


def test_a_notice_survives_kill_9_between_commit_and_answer(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with Receiver(receivers.hang) as receiver:
        with serving(data_dir, **SETTINGS) as server:
            made = server.client.post("/v1/webhooks", json={"url": receiver.url}).json()
            options = f'{{"webhook": "{made["id"]}"}}'
            sent = server.client.post(
                "/v1/batches",
                files=[("files", ("a.txt", b"hello"))],
                data={"pipeline": "web", "options": options},
            )
            receiver.until(1)
            server.kill()
        receiver.behave = answer
        with serving(data_dir, **SETTINGS):
            first, *_, last = receiver.until(2, limit_s=60)

    assert first.headers["webhook-id"] == last.headers["webhook-id"]
    assert first.body == last.body
    message = Verifier(made["secret"]).verify(last.body, last.headers)
    assert message["data"]["id"] == sent.json()["id"]
