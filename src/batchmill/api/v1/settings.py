"""The settings as they hold, and where each came from; they never change while the server runs."""

from collections.abc import Mapping
from functools import reduce

from fastapi import APIRouter, Request, Response

from batchmill.api import auth, serialize
from batchmill.api.context import Ctx
from batchmill.settings import loading
from batchmill.settings.fields import Settings
from batchmill.settings.loading import Origin, Setting
from batchmill.wire import responses, system

router = APIRouter(tags=["system"])


@router.get("/v1/settings", response_model=responses.Listing[system.SettingValue])
async def list_settings(request: Request, ctx: Ctx) -> Response:
    """List every setting with its value and where that came from; secrets stay untold."""
    auth.refuse_unless_admin(ctx.caller)
    found = described(ctx.server.settings, request.app.state.origins)
    return serialize.conditional(request, responses.Listing[system.SettingValue](data=found))


def described(settings: Settings, origins: Mapping[str, Origin]) -> list[system.SettingValue]:
    """Describe every setting; one that `origins` does not name has its default."""
    defaults = Settings()
    return [_setting(each, settings, defaults, origins) for each in loading.settings()]


def _setting(
    setting: Setting, settings: Settings, defaults: Settings, origins: Mapping[str, Origin]
) -> system.SettingValue:
    value = _at(settings, setting.path)
    origin = origins.get(setting.path)
    return system.SettingValue(
        name=setting.path,
        variable=setting.variable,
        meaning=setting.field.description or "",
        takes=setting.allowed,
        secret=setting.secret,
        given=loading.written(value) is not None,
        value=None if setting.secret else loading.written(value),
        default=None if setting.secret else loading.written(_at(defaults, setting.path)),
        origin=origin.kind if origin else "default",
        given_by=origin and origin.name,
    )


def _at(settings: Settings, path: str) -> object:
    return reduce(getattr, path.split("."), settings)
