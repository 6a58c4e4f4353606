"""What can be done to files: operations and presets with the schema of their options."""

from fastapi import APIRouter, Request, Response

from batchmill.api import serialize
from batchmill.api.context import Ctx
from batchmill.operations import presets, registry
from batchmill.wire import responses

router = APIRouter(prefix="/v1", tags=["catalog"])


@router.get("/operations", response_model=responses.Listing[responses.Operation])
async def operations(request: Request, _: Ctx) -> Response:
    """List every operation."""
    found = [_operation(name) for name in registry.names()]
    return serialize.conditional(request, responses.Listing(data=found))


@router.get("/operations/{name}", response_model=responses.Operation)
async def operation(name: str, request: Request, _: Ctx) -> Response:
    """Show one operation."""
    return serialize.conditional(request, _operation(name))


@router.get("/presets", response_model=responses.Listing[responses.Preset])
async def list_presets(request: Request, ctx: Ctx) -> Response:
    """List every named pipeline."""
    names = presets.names(ctx.server.settings.presets_dir)
    found = [_preset(ctx, name) for name in names]
    return serialize.conditional(request, responses.Listing(data=found))


@router.get("/presets/{name}", response_model=responses.Preset)
async def preset(name: str, request: Request, ctx: Ctx) -> Response:
    """Show one named pipeline."""
    return serialize.conditional(request, _preset(ctx, name))


def _operation(name: str) -> responses.Operation:
    found = registry.get(name)
    return responses.Operation(
        name=found.name,
        summary=found.summary,
        version=found.version,
        accepts=sorted(found.accepts),
        options=registry.schema(name),
    )


def _preset(ctx: Ctx, name: str) -> responses.Preset:
    own = ctx.server.settings.presets_dir
    pipeline = presets.get(name, own)
    return responses.Preset(
        name=name,
        summary=presets.summaries(own).get(name, ""),
        pipeline=pipeline.to_json(),
        options={step.id: registry.schema(step.use) for step in pipeline.steps},
    )
