"""Uploads to an S3 bucket: unfinished multipart ones, and addresses for files of one size.

Unfinished uploads are found and aborted, for they cost but show nowhere. The bucket library can
neither list nor abort them, nor sign how long a file is, so these requests are signed here.
Source of the signature: AWS, "Signature Version 4 signing process".
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import unescape
from urllib.parse import quote, urlsplit

import httpx

_LIST_AT_ONCE = 1_000
_TIMEOUT_S = 10
_UPLOAD = re.compile(r"<Upload>.*?</Upload>", re.DOTALL)
_KEY = re.compile(r"<Key>(.*?)</Key>", re.DOTALL)
_ID = re.compile(r"<UploadId>(.*?)</UploadId>", re.DOTALL)
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class S3Uploads:
    """The unfinished uploads of a bucket, below its folder `prefix` (empty or with a slash).

    `bucket` is empty where `endpoint` names it.
    """

    endpoint: str
    bucket: str
    prefix: str
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)

    async def abort(self, prefix: str) -> int:
        """Abort every unfinished upload whose key starts with `prefix`; return how many.

        Raises:
            httpx.HTTPError: the storage does not answer or refuses.
        """
        aborted = 0
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False) as client:
            for key, upload_id in await self._list(client, prefix):
                await self._send(client, "DELETE", key, {"uploadId": upload_id})
                aborted += 1
        return aborted

    async def folders(self, prefix: str) -> set[str]:
        """Return the names directly below `prefix` that unfinished uploads have.

        Raises:
            httpx.HTTPError: the storage does not answer or refuses.
        """
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False) as client:
            uploads = await self._list(client, prefix)
        whole = len(self.prefix + prefix)
        return {key[whole:].partition("/")[0] for key, _ in uploads}

    def put_address(self, key: str, *, length_bytes: int, expires_s: int, now: datetime) -> str:
        """Return an address where anybody may put `length_bytes` under `key` for `expires_s`."""
        path = self._path(self.prefix + key)
        headers = {"content-length": str(length_bytes), "host": urlsplit(self.endpoint).netloc}
        query = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{self.access_key_id}/{self._scope(now)}",
            "X-Amz-Date": _instant(now),
            "X-Amz-Expires": str(expires_s),
            "X-Amz-SignedHeaders": ";".join(headers),
        }
        text = _query(query)
        request = _canonical("PUT", path, text, headers, body="UNSIGNED-PAYLOAD")
        signature = self._signature(request, now)
        return f"{self.endpoint}{path}?{text}&X-Amz-Signature={signature}"

    async def _list(self, client: httpx.AsyncClient, prefix: str) -> list[tuple[str, str]]:
        query = {
            "max-uploads": str(_LIST_AT_ONCE),
            "prefix": self.prefix + prefix,
            "uploads": "",
        }
        answer = await self._send(client, "GET", "", query)
        uploads = [(_KEY.search(each), _ID.search(each)) for each in _UPLOAD.findall(answer.text)]
        return [(unescape(key[1]), unescape(id_[1])) for key, id_ in uploads if key and id_]

    async def _send(
        self, client: httpx.AsyncClient, method: str, key: str, query: Mapping[str, str]
    ) -> httpx.Response:
        path, text = self._path(key), _query(query)
        headers = self._signed(method, path, text, datetime.now(UTC))
        answer = await client.request(method, f"{self.endpoint}{path}?{text}", headers=headers)
        return answer.raise_for_status()

    def _signed(self, method: str, path: str, query: str, now: datetime) -> dict[str, str]:
        """Return the headers that prove who asks."""
        headers = {
            "host": urlsplit(self.endpoint).netloc,
            "x-amz-content-sha256": _EMPTY_SHA256,
            "x-amz-date": _instant(now),
        }
        request = _canonical(method, path, query, headers, body=_EMPTY_SHA256)
        credential = f"Credential={self.access_key_id}/{self._scope(now)}"
        names, signature = ";".join(headers), self._signature(request, now)
        proof = f"{_ALGORITHM} {credential}, SignedHeaders={names}, Signature={signature}"
        return {**headers, "authorization": proof}

    def _signature(self, request: str, now: datetime) -> str:
        scope, digest = self._scope(now), hashlib.sha256(request.encode()).hexdigest()
        to_sign = "\n".join([_ALGORITHM, _instant(now), scope, digest])
        key = f"AWS4{self.secret_access_key}".encode()
        for part in [*scope.split("/"), to_sign]:
            key = hmac.digest(key, part.encode(), "sha256")
        return key.hex()

    def _scope(self, now: datetime) -> str:
        return f"{now:%Y%m%d}/{self.region}/s3/aws4_request"

    def _path(self, key: str) -> str:
        return quote("/" + "/".join(part for part in (self.bucket, key) if part))


def _canonical(method: str, path: str, query: str, headers: Mapping[str, str], *, body: str) -> str:
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    return "\n".join([method, path, query, lines, ";".join(headers), body])


def _instant(now: datetime) -> str:
    return now.strftime("%Y%m%dT%H%M%SZ")


def _query(query: Mapping[str, str]) -> str:
    return "&".join(f"{_quote(name)}={_quote(query[name])}" for name in sorted(query))


def _quote(text: str) -> str:
    return quote(text, safe="-_.~")
