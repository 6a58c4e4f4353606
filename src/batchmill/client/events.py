"""Reads a stream of server-sent events: https://html.spec.whatwg.org/#parsing-an-event-stream."""

from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event; `id` is the last one that the stream has named."""

    name: str
    data: str
    id: str | None


async def parse(lines: AsyncIterator[str]) -> AsyncIterator[ServerEvent]:
    """Yield the events that lines, without their ends, hold; one that is cut off is dropped."""
    name, last_id = "", None
    data: list[str] = []
    async for line in lines:
        if not line:
            if data:
                yield ServerEvent(name or "message", "\n".join(data), last_id)
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            last_id = value
