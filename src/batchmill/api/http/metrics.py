"""Numbers for Prometheus: requests as they are answered, the server as the database has it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from batchmill.model.batch import Counts
from batchmill.model.item import ItemStatus
from batchmill.service import figures
from batchmill.service.context import ServerContext
from batchmill.service.figures import WorkerRow

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OTHER: Final = "other"
"""Stands for every address that is not ours, so that strangers can't make up new numbers."""
_BUCKETS: Final = (0.005, 0.02, 0.05, 0.2, 0.5, 2.0, 10.0, 60.0)
_STREAMS: Final = "/events"


class Requests:
    """Counts the requests of one application; a registry of its own, nothing global."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.number = Counter(
            "batchmill_http_requests",
            "Requests answered",
            ("method", "path", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "batchmill_http_request_seconds",
            "Time until an answer was sent whole; streams of events are left out",
            ("method", "path"),
            registry=self.registry,
            buckets=_BUCKETS,
        )


class Measured:
    """Measures every request on its way through the application."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and note how it was answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = 0, time.monotonic()

        async def sending(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            self._note(scope, status, time.monotonic() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        path = getattr(scope.get("route"), "path", OTHER)
        method = scope["method"] if path != OTHER else OTHER
        self._requests.number.labels(method, path, str(status)).inc()
        if not path.endswith(_STREAMS):
            self._requests.seconds.labels(method, path).observe(seconds)


async def exposition(server: ServerContext, requests: Requests, *, streams: int) -> bytes:
    """Return all numbers as Prometheus reads them.

    Raises:
        DatabaseUnavailableError: the database does not answer.
    """
    families = await figures.by_family(server)
    counts = await figures.totals(server)
    alive = await figures.alive(server)
    free_bytes = await server.storage.free_bytes()
    now = CollectorRegistry()
    now.register(
        _Gauges([*_gauges(counts, alive, streams), _families(families), *_free(free_bytes)])
    )
    return generate_latest(requests.registry) + generate_latest(now)


class _Gauges:
    """A collector of values that are known already."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        """Return the values."""
        return self._metrics


def _gauges(counts: Counts, alive: Sequence[WorkerRow], streams: int) -> Iterator[Metric]:
    items = GaugeMetricFamily("batchmill_items", "Items kept, by status", labels=["status"])
    for status in ItemStatus:
        items.add_metric([status], getattr(counts, status))
    yield items
    yield GaugeMetricFamily(
        "batchmill_backlog_items", "Items that wait or run", value=counts.unfinished
    )
    slots = sum(worker.open_slots for worker in alive)
    yield GaugeMetricFamily("batchmill_slots", "Items that can be processed at once", value=slots)
    working = sum(worker.slots > 0 for worker in alive)
    yield GaugeMetricFamily("batchmill_workers", "Workers alive", value=working)
    yield GaugeMetricFamily("batchmill_event_streams", "Open streams of events", value=streams)


def _families(families: Mapping[str, Counts]) -> Metric:
    items = GaugeMetricFamily(
        "batchmill_family_items", "Items kept, by family and status", labels=["family", "status"]
    )
    for family, counts in families.items():
        for status in ItemStatus:
            items.add_metric([family, status], getattr(counts, status))
    return items


def _free(free_bytes: int | None) -> Iterator[Metric]:
    if free_bytes is not None:
        yield GaugeMetricFamily(
            "batchmill_storage_free_bytes", "Space left in the storage", value=free_bytes
        )
