import asyncio
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors.outage import CallFailedError
from batchmill.errors.request import AddressRefusedError
from batchmill.outgoing.calls import LONGEST_URL, CallRules, Outgoing
from outgoing.conftest import Resolving
from support import parts
from support import receiver as receivers
from support.receiver import Receiver, answer

pytestmark = pytest.mark.anyio
HERE = CallRules(http=True, loopback=True)
INSIDE = "it does not lead to the public internet"


async def called(outgoing: Outgoing, url: str, *, timeout_s: float = 10, **more: Any) -> bytes:
    async with outgoing.call("GET", url, timeout_s=timeout_s, **more) as answered:
        return b"".join([piece async for piece in answered.pieces])


async def refused(outgoing: Outgoing, url: str) -> str:
    with pytest.raises(AddressRefusedError) as error:
        await called(outgoing, url)
    return error.value.reason


async def failed(outgoing: Outgoing, url: str, **more: Any) -> CallFailedError:
    with pytest.raises(CallFailedError) as error:
        await called(outgoing, url, **more)
    return error.value


async def test_a_call_brings_method_headers_and_body_and_returns_the_answer(
    receiver: Receiver,
) -> None:
    receiver.behave = lambda guest: answer(guest, 202, b"thanks")

    async with Outgoing(HERE).call(
        "POST", f"{receiver.url}?a=b", timeout_s=10, headers={"X-Mine": "1"}, body=b"hello"
    ) as answered:
        assert answered.status == 202
        assert [piece async for piece in answered.pieces] == [b"thanks"]

    (got,) = receiver.got
    assert (got.method, got.path, got.body) == ("POST", "/hook?a=b", b"hello")
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["x-mine"] == "1"
    assert got.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://x/",
            "//example.com",
            "example.com",
        ),
        *("https://", "https:///path", "", " ", "https://[::1", "javascript:alert(1)", "unix:/x"),
    ],
)
async def test_only_addresses_of_the_web_are_called(url: str) -> None:
    assert await refused(Outgoing(HERE), url) in {
        "it must start with https:// or http://",
        "it is no address",
    }


async def test_http_and_loopback_are_called_only_by_their_settings(receiver: Receiver) -> None:
    assert await refused(Outgoing(), receiver.url) == "it must start with https://"
    assert await refused(Outgoing(CallRules(http=True)), receiver.url) == INSIDE
    encrypted = f"https://127.0.0.1:{receiver.port}"
    assert (await failed(Outgoing(CallRules(loopback=True)), encrypted, timeout_s=0.5)).reason
    assert await called(Outgoing(HERE), receiver.url) == b""
    assert len(receiver.got) == 1


async def test_an_address_with_a_password_or_without_end_is_refused() -> None:
    assert await refused(Outgoing(HERE), "http://me:secret@127.0.0.1/") == "it holds a user name"
    assert "longer" in await refused(Outgoing(HERE), "http://127.0.0.1/" + "x" * LONGEST_URL)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "[::1]", "0"),
        *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]", "0.0", "169.254.169.254"),
        *(
            "[fe80::1]",
            "[64:ff9b::7f00:1]",
            "[fd00:ec2::254]",
            "10.0.0.1",
            "\uff11\uff12\uff17.0.0.1",
        ),
    ],
)
async def test_no_spelling_of_an_inside_address_is_connected_to(
    receiver: Receiver, host: str
) -> None:
    outgoing = Outgoing(CallRules(http=True))
    with pytest.raises((AddressRefusedError, CallFailedError)):
        await called(outgoing, f"http://{host}:{receiver.port}/hook")
    assert receiver.got == []


async def test_a_name_is_refused_when_only_one_of_its_addresses_is_inside(
    receiver: Receiver, resolving: Resolving
) -> None:
    resolve = resolving(["93.184.216.34", "127.0.0.1"])
    outgoing = Outgoing(CallRules(http=True), resolve=resolve)

    assert await refused(outgoing, f"http://two.example:{receiver.port}/") == INSIDE
    assert receiver.got == []


async def test_a_name_without_addresses_is_refused(resolving: Resolving) -> None:
    assert await refused(Outgoing(resolve=resolving([])), "https://none.example/") == INSIDE


async def test_a_name_server_that_changes_its_mind_is_asked_once(
    receiver: Receiver, resolving: Resolving
) -> None:
    """DNS rebinding: a good address for the check, an inside one for the connection."""
    resolve = resolving(["127.0.0.1"], ["169.254.169.254"])

    await called(Outgoing(HERE, resolve=resolve), f"http://rebind.example:{receiver.port}/")

    assert resolve.asked == ["rebind.example"]
    assert [got.headers["host"] for got in receiver.got] == [f"rebind.example:{receiver.port}"]


async def test_the_next_address_is_tried_when_the_first_takes_no_connection(
    receiver: Receiver, resolving: Resolving
) -> None:
    resolve = resolving(["127.0.0.2", "127.0.0.1"])

    await called(Outgoing(HERE, resolve=resolve), f"http://two.example:{receiver.port}/")

    assert len(receiver.got) == 1


async def test_a_name_with_many_addresses_costs_four_connections(
    receiver: Receiver, resolving: Resolving
) -> None:
    closed = [f"127.0.0.{last}" for last in range(2, 6)]
    outgoing = Outgoing(HERE, resolve=resolving([*closed, "127.0.0.1"]))

    error = await failed(outgoing, f"http://many.example:{receiver.port}/")

    assert (error.reason, receiver.got) == ("it takes no connection", [])


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    with Receiver() as other:
        receiver.behave = lambda guest: answer(guest, 302, location=other.url)
        error = await failed(Outgoing(HERE), receiver.url)
    assert (error.answered, error.reason) == (302, "it redirects, which is not followed")
    assert other.got == []


@pytest.mark.parametrize("status", [400, 404, 410, 500, 503])
async def test_an_answer_that_is_an_error_is_told_with_its_status(
    receiver: Receiver, status: int
) -> None:
    receiver.behave = lambda guest: answer(guest, status, b"secret of the receiver")
    error = await failed(Outgoing(HERE), receiver.url)
    assert (error.answered, error.reason) == (status, f"it answers {status}")


async def test_a_packed_answer_is_refused_because_it_could_unpack_to_anything(
    receiver: Receiver,
) -> None:
    receiver.behave = lambda guest: answer(guest, 200, b"\x1f\x8b", content_encoding="gzip")
    assert (await failed(Outgoing(HERE), receiver.url)).reason == "its answer is packed"


@pytest.mark.parametrize("behave", [receivers.hang, receivers.drip, receivers.flood])
async def test_an_answer_without_end_ends_with_the_time_limit(
    receiver: Receiver, behave: receivers.Behave
) -> None:
    receiver.behave = behave
    outgoing = Outgoing(HERE)

    async def read_all() -> None:
        async with outgoing.call("GET", receiver.url, timeout_s=0.5) as answered:
            async for _ in answered.pieces:
                pass

    with pytest.raises(CallFailedError, match="no whole answer within"):
        await read_all()


async def test_headers_without_end_break_the_call_off(receiver: Receiver) -> None:
    receiver.behave = receivers.flood_headers
    assert (await failed(Outgoing(HERE), receiver.url)).reason == "the connection broke off"


async def test_an_answer_that_nobody_reads_costs_nothing(receiver: Receiver) -> None:
    receiver.behave = receivers.flood
    async with Outgoing(HERE).call("POST", receiver.url, timeout_s=10**6) as answer:
        assert answer.status == 200  # reading its body would never end


async def test_a_receiver_that_is_away_or_leaves_is_a_failed_call(receiver: Receiver) -> None:
    receiver.behave = lambda guest: guest.close()
    assert (await failed(Outgoing(HERE), receiver.url)).reason == "the connection broke off"
    receiver.stop()
    assert (await failed(Outgoing(HERE), receiver.url)).reason == "it takes no connection"


async def test_a_name_server_that_hangs_is_given_up_with_the_time_limit() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    error = await failed(Outgoing(resolve=resolve), "https://slow.example/", timeout_s=0.2)
    assert error.reason == "no whole answer within 0.2 s"


async def test_a_proxy_of_the_environment_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        await called(Outgoing(HERE), receiver.url)
    assert (len(receiver.got), proxy.got) == (1, [])


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for name.example, and its key beside it."""
    path = tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=name.example", "-addext", "subjectAltName=DNS:name.example"]
    try:
        subprocess.run(
            [*command, "-keyout", str(tmp_path / "key.pem"), "-out", str(path)],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        parts.missing("openssl")
    return path


async def test_the_certificate_must_be_the_names_although_the_address_is_connected_to(
    certificate: Path, resolving: Resolving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    resolve = resolving(["127.0.0.1"], ["127.0.0.1"])
    outgoing = Outgoing(CallRules(loopback=True), resolve=resolve)

    with Receiver(tls=context) as receiver:
        await called(outgoing, f"https://name.example:{receiver.port}/")
        error = await failed(outgoing, f"https://other.example:{receiver.port}/")

    assert names == ["name.example", "other.example"]
    assert [got.headers["host"] for got in receiver.got] == [f"name.example:{receiver.port}"]
    assert error.reason == "it takes no connection"
