"""What request handlers work with, found in one place."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from batchmill.api import auth
from batchmill.api.event_hub import EventHub
from batchmill.archives.stream import ArchivePlans
from batchmill.model.access import Scope
from batchmill.model.batch import OwnerId
from batchmill.service.context import ServerContext
from batchmill.service.queries import Reading
from batchmill.service.submission.submit import Caller
from batchmill.settings.fields import TierLimits


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The server, who asks, and the address under which the server was reached (no slash)."""

    server: ServerContext
    caller: Caller
    base_url: str
    event_hub: EventHub
    archives: ArchivePlans

    @property
    def sees(self) -> OwnerId | None:
        """Whose batches the caller may look at and stop; None: everybody's, with an admin's key."""
        key = self.caller.key
        return None if key is not None and key.permits(Scope.ADMIN) else self.caller.owner_id

    @property
    def reading(self) -> Reading:
        """What this caller may read."""
        return Reading(self.server, self.sees)

    @property
    def limits(self) -> TierLimits:
        """The limits of the caller's tier."""
        return self.server.settings.tier(self.caller.tier)


async def request_context(request: Request) -> RequestContext:
    """Find out who asks; every route but the health checks depends on this.

    Raises:
        UnauthenticatedError: callers like this one are not served.
    """
    server: ServerContext = request.app.state.server
    caller = await auth.caller(request)
    base_url = server.settings.public_url or str(request.base_url)
    state = request.app.state
    return RequestContext(server, caller, base_url.rstrip("/"), state.event_hub, state.archives)


Ctx = Annotated[RequestContext, Depends(request_context)]
"""The parameter type by which a handler gets its context."""
