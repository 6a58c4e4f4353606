"""Signs deliveries as Standard Webhooks does; a receiver with the secret can check them."""

import base64
import secrets
from datetime import UTC, datetime

SECRET_BYTES = 32
_PREFIX = "whsec_"


def new_secret() -> str:
    """Return a new secret of a webhook."""
    return written(secrets.token_bytes(SECRET_BYTES))


def raw(secret: str) -> bytes:
    """Return the bytes of a secret.

    Raises:
        ValueError: it is not written as one.
    """
    if not secret.startswith(_PREFIX):
        raise ValueError(f"a secret begins with {_PREFIX}")
    return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)


def written(raw_secret: bytes) -> str:
    """Return a secret as its webhook's owner gets it."""
    return f"{_PREFIX}{base64.b64encode(raw_secret).decode()}"


def headers(secret: str, message_id: str, body: str) -> dict[str, str]:
    """Return the headers that prove who sent `body`, and when; the id stays over all tries."""
    from standardwebhooks.webhooks import Webhook  # late: it loads what few processes need

    now = datetime.now(UTC)
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, body),
    }
