"""Signatures of notices as Standard Webhooks has them: whoever knows the secret can check one."""

import base64
import secrets
from datetime import UTC, datetime

SECRET_BYTES = 32


def new_secret() -> str:
    """Return a new secret of a webhook."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


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
