"""Turns what a request asks for into an order that the service understands."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from batchmill.api.http import json_body
from batchmill.api.http.problems import checked
from batchmill.errors.request import InvalidFieldError, UnknownNameError
from batchmill.model import pipeline as pipelines
from batchmill.model.pipeline import Pipeline
from batchmill.operations import presets, registry
from batchmill.service.context import ServerContext
from batchmill.service.submission.submit import Order
from batchmill.vision import clients
from batchmill.wire import requests

METADATA_BYTES = 16_384


def of_form(server: ServerContext, fields: Mapping[str, str]) -> Order:
    """Read the fields `pipeline` (a name, or JSON) and `options` (JSON) of a form.

    Raises:
        RequestError: one of its kinds, with a sentence that names what is wrong.
    """
    if "pipeline" not in fields:
        raise InvalidFieldError("The form needs the field `pipeline`: a preset's name, or JSON.")
    named = fields["pipeline"].strip()
    wanted = json_body.parse(named) if named.startswith("{") else named
    options = json_body.parse(fields["options"]) if fields.get("options") else {}
    return of_options(server, wanted, checked(requests.BatchOptions, options, "`options`"))


def of_options(
    server: ServerContext, wanted: str | dict[str, Any], options: requests.BatchOptions
) -> Order:
    """Check the pipeline and complete it.

    Raises:
        RequestError: one of its kinds, with a sentence that names what is wrong.
    """
    check_metadata(options.metadata)
    return Order(
        pipeline=_pipeline(server, wanted, options.step_options),
        priority=options.priority,
        concurrency=options.concurrency,
        name=options.name,
        tag=options.tag,
        metadata=options.metadata,
        halt_after_pct=options.on_failure.halt_after_pct,
        keep_open=options.keep_open,
        webhook=options.webhook,
    )


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Refuse metadata that is too long to be kept beside a batch.

    Raises:
        InvalidFieldError: it is.
    """
    if len(json.dumps(metadata)) > METADATA_BYTES:
        raise InvalidFieldError(f"`metadata` must be at most {METADATA_BYTES:,} bytes of JSON.")


def _pipeline(
    server: ServerContext,
    wanted: str | dict[str, Any],
    step_options: Mapping[str, Mapping[str, Any]],
) -> Pipeline:
    if isinstance(wanted, str):
        base = presets.get(wanted, server.settings.presets_dir)
    else:
        base = pipelines.parse(wanted)
    pipeline = registry.check(with_options(base, step_options))
    clients.check(pipeline, server.settings)
    return pipeline


def with_options(pipeline: Pipeline, step_options: Mapping[str, Mapping[str, Any]]) -> Pipeline:
    """Replace options of the steps that are named by their id, which wins, or operation.

    Raises:
        UnknownNameError: there is no such step.
    """
    named = {name for step in pipeline.steps for name in (step.use, step.id)}
    for name in step_options:
        if name not in named:
            raise UnknownNameError("step", name, [step.use for step in pipeline.steps])
    given = {name: dict(options) for name, options in step_options.items()}
    steps = [
        replace(step, options={**step.options, **given.get(step.use, {}), **given.get(step.id, {})})
        for step in pipeline.steps
    ]
    return replace(pipeline, steps=tuple(steps))
