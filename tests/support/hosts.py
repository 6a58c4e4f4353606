"""Hosts of their own on one machine: network namespaces with a cable to this one."""

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from support import parts


@dataclass(frozen=True)
class Host:
    """A namespace: programs are started in it with `inside`, and see us at `gateway`."""

    name: str
    gateway: str
    cable: str

    @property
    def inside(self) -> list[str]:
        """What stands before a command that is to run there."""
        return ["ip", "netns", "exec", self.name]

    def unplug(self) -> None:
        """Pull the cable: packets get lost, connections stay open until somebody gives up."""
        _ip("link", "set", self.cable, "down")

    def plug(self) -> None:
        """Put the cable back."""
        _ip("link", "set", self.cable, "up")


@contextmanager
def connected(number: int) -> Iterator[Host]:
    """Make a host; `number` tells hosts of one test apart."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        parts.missing("network namespaces")
    name = f"mill{os.getpid()}-{number}"
    cable, far_end = f"m{os.getpid()}-{number}", "uplink"
    network = f"10.{200 + number}.{os.getpid() % 250}"
    host = Host(name, f"{network}.1", cable)
    if _ip("netns", "add", name, check=False).returncode:
        parts.missing("network namespaces")
    try:
        _ip("link", "add", cable, "type", "veth", "peer", "name", far_end, "netns", name)
        _ip("addr", "add", f"{network}.1/30", "dev", cable)
        _ip("link", "set", cable, "up")
        _ip("-n", name, "addr", "add", f"{network}.2/30", "dev", far_end)
        _ip("-n", name, "link", "set", far_end, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        yield host
    finally:
        _ip("netns", "del", name, check=False)


def _ip(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["ip", *arguments], check=check, capture_output=True)


@contextmanager
def forwarded(hosts: Sequence[Host], ports: Sequence[int]) -> Iterator[None]:
    """Let the hosts reach these ports of our loopback address at their gateway."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    doors = [(host.gateway, port) for host in hosts for port in ports]
    try:
        for gateway, port in doors:
            starting = asyncio.start_server(_to_loopback(port), gateway, port)
            asyncio.run_coroutine_threadsafe(starting, loop).result(10)
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _to_loopback(
    port: int,
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError):
            async with asyncio.TaskGroup() as group:
                group.create_task(_pipe(reader, far_writer))
                group.create_task(_pipe(far_reader, writer))

    return carry


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, TimeoutError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    writer.close()
