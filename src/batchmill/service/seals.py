"""Seals of the secrets in the database: who reads it, or a backup of it, learns none.

A sealed secret is `sealed:v1:<key id>:<base64>`, of a nonce and what AES-GCM makes of the secret
for one row: copied to another row it does not open. The first key seals, each one opens.
"""

import base64
from collections.abc import Sequence
from secrets import token_bytes

from batchmill.errors.outage import SecretDamagedError, SecretKeyMissingError
from batchmill.model.webhook import SEALED, WebhookId
from batchmill.outgoing import signed

KEY_CHARACTERS = 32
_NONCE_BYTES = 12


class Seals:
    """Seals and opens with keys of at least 32 characters; without any, secrets stay clear.

    `prefixes` is what the secrets begin with that these keys open, the sealing key's first.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        if any(len(key) < KEY_CHARACTERS for key in keys):
            raise ValueError(f"every secret key has at least {KEY_CHARACTERS} characters")
        self._ciphers = {
            f"{SEALED}v1:{_derived(key, 'key id', length=4).hex()}:": _derived(
                key, "sealing", length=32
            )
            for key in keys
        }
        self.prefixes = tuple(self._ciphers)

    def seal(self, secret: str, webhook_id: WebhookId) -> str:
        """Return what is kept of a webhook's secret.

        Raises:
            SecretDamagedError: it is none of ours.
        """
        if not self.prefixes:
            return secret
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # late: not all seal

        try:
            raw = signed.raw(secret)
        except ValueError as error:
            raise SecretDamagedError(webhook_id) from error
        prefix, nonce = self.prefixes[0], token_bytes(_NONCE_BYTES)
        cipher = AESGCM(self._ciphers[prefix])
        sealed = nonce + cipher.encrypt(nonce, raw, _row(webhook_id))
        return prefix + base64.urlsafe_b64encode(sealed).decode()

    def can_open(self, kept: str) -> bool:
        """Return whether a secret is clear, or sealed with one of these keys."""
        return not kept.startswith(SEALED) or kept.startswith(self.prefixes)

    def open(self, kept: str, webhook_id: WebhookId) -> str:
        """Return the secret of a webhook from what is kept of it.

        Raises:
            SecretKeyMissingError: it is sealed with a key that is not here.
            SecretDamagedError: it was changed, or is another row's.
        """
        if not kept.startswith(SEALED):
            return kept
        if not self.can_open(kept):
            raise SecretKeyMissingError
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        head, _, body = kept.rpartition(":")
        try:
            sealed = base64.b64decode(body, altchars=b"-_", validate=True)
            nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            raw = AESGCM(self._ciphers[f"{head}:"]).decrypt(nonce, rest, _row(webhook_id))
        except (ValueError, KeyError, InvalidTag) as error:
            raise SecretDamagedError(webhook_id) from error
        return signed.written(raw)


def _row(webhook_id: WebhookId) -> bytes:
    return f"webhooks.secret {webhook_id}".encode()


def _derived(key: str, purpose: str, *, length: int) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    info = f"batchmill sealed v1 {purpose}".encode()
    return HKDF(SHA256(), length=length, salt=None, info=info).derive(key.encode())
