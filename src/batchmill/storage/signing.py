"""Signed addresses of our own: they open one object, with one method, until an instant.

A token is `<expires>.<key id>.<signature>`; method and object are signed but not repeated in it,
so a token is worthless at any other address. The first key signs, every key is accepted: to
rotate, put a new key in front and drop the old one when its last token has expired.
"""

import hmac
import json
import re
from collections.abc import Sequence
from hashlib import blake2b, sha256
from secrets import token_urlsafe

import itsdangerous

from batchmill.errors.request import ForbiddenError

LONGEST_S = 604_800
KEY_BYTES = 32

_TOKEN = re.compile(r"(\d{1,12})\.([0-9a-f]{8})\.([A-Za-z0-9_-]{43})")


class Signer:
    """Makes and checks tokens with keys of at least 32 characters."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys or min(map(len, keys)) < KEY_BYTES:
            raise ValueError(f"every signing key has at least {KEY_BYTES} characters")
        self._signing_id = _key_id(keys[0])
        self._signers = {
            _key_id(key): itsdangerous.Signer(
                key, salt=__name__, key_derivation="hmac", digest_method=sha256
            )
            for key in keys
        }

    def sign(self, method: str, name: str, *, now_s: int, valid_s: int) -> str:
        """Return a token for `method` on the object `name`, valid until `now_s + valid_s`."""
        if not 0 < valid_s <= LONGEST_S:
            raise ValueError(f"a signed address is valid for 1 to {LONGEST_S} s")
        claim = f"{now_s + valid_s}.{self._signing_id}"
        signature = self._signers[self._signing_id].get_signature(_signed(claim, method, name))
        return f"{claim}.{signature.decode()}"

    def check(self, token: str, method: str, name: str, *, now_s: float) -> None:
        """Check, in a time that does not depend on what differs, that `token` opens `name`.

        Raises:
            ForbiddenError: it does not, or not any more.
        """
        parts = _TOKEN.fullmatch(token)
        signer = self._signers.get(parts[2]) if parts else None
        if parts is None or signer is None:
            raise _invalid()
        claim = f"{parts[1]}.{parts[2]}"
        # As text: decoding first would let the last character pass in four spellings.
        signature = signer.get_signature(_signed(claim, method, name))
        if not hmac.compare_digest(signature, parts[3].encode()):
            raise _invalid()
        if now_s >= int(parts[1]):
            raise ForbiddenError("This address has expired; ask for a new one.")


def fresh_signer() -> Signer:
    """Return a signer with a key that nobody else has and that dies with this process."""
    return Signer([token_urlsafe(KEY_BYTES)])


def _signed(claim: str, method: str, name: str) -> bytes:
    return json.dumps([claim, method, name]).encode()


def _key_id(key: str) -> str:
    return blake2b(b"key id", key=sha256(key.encode()).digest(), digest_size=4).hexdigest()


def _invalid() -> ForbiddenError:
    return ForbiddenError("This address is not signed for what it asks; ask for a new one.")
