"""What request bodies look like, for OpenAPI: handlers read them themselves, piece by piece."""

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from batchmill.wire import requests, responses

_FILES: Final = {
    "type": "array",
    "items": {"type": "string", "format": "binary"},
    "description": "The files, each a part of its own",
}
_PIPELINE: Final = {"type": "string", "description": "Name of a preset, or a pipeline in JSON"}
_MODELS: Final = (
    requests.NewBatch,
    requests.BatchOptions,
    requests.BatchChange,
    requests.MoreInputs,
    requests.Retry,
    requests.NewPlan,
    requests.NewWebhook,
    requests.NewDirectUpload,
    requests.CleanupConfirmed,
    responses.Problem,
)


def _ref(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def _form(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    encoding = {"options": {"contentType": "application/json"}} if "options" in properties else {}
    schema = {"type": "object", "properties": properties, "required": required}
    return {"schema": schema, "encoding": encoding}


def _takes(*, required: bool = True, **content: dict[str, Any]) -> dict[str, Any]:
    types = {"form": "multipart/form-data", "json": "application/json"}
    named = {types[kind]: schema for kind, schema in content.items()}
    return {"requestBody": {"required": required, "content": named}}


_ORDER: Final = _form(
    {
        "files": _FILES,
        "pipeline": _PIPELINE,
        "options": {"$ref": "#/components/schemas/BatchOptions"},
    },
    ["pipeline"],
)
NEW_BATCH: Final = _takes(form=_ORDER, json=_ref("NewBatch"))
NEW_PLAN: Final = _takes(form=_ORDER, json=_ref("NewPlan"))
MORE_FILES: Final = _takes(form=_form({"files": _FILES}, ["files"]), json=_ref("MoreInputs"))
CHANGE: Final = _takes(json=_ref("BatchChange"))
NEW_WEBHOOK: Final = _takes(json=_ref("NewWebhook"))
NEW_DIRECT_UPLOAD: Final = _takes(required=False, json=_ref("NewDirectUpload"))
CONFIRM_CLEANUP: Final = _takes(json=_ref("CleanupConfirmed"))
RETRY: Final = _takes(required=False, json=_ref("Retry"))
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "description": "An error, as RFC 9457 shapes it",
        "content": {"application/problem+json": _ref("Problem")},
    }
}


def components() -> dict[str, Any]:
    """Return the schemas that the bodies above refer to."""
    wanted: list[tuple[Any, Any]] = [(model, "validation") for model in _MODELS]
    _, schemas = models_json_schema(wanted, ref_template="#/components/schemas/{model}")
    definitions: dict[str, Any] = schemas["$defs"]
    return definitions
