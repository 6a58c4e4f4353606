"""What settings are made of: lists, paths and secrets as one writes them, units, and groups."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    IPvAnyNetwork,
    SecretStr,
)

MB: Final = 1_000_000
GB: Final = 1_000 * MB
MIB: Final = 2**20
GIB: Final = 2**30


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
"""A child changes its folder: what it is told must hold from everywhere."""
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_split)]
Networks = Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(_split)]
Secrets = Annotated[tuple[SecretStr, ...], BeforeValidator(_split)]


class Group(BaseModel):
    """Settings that belong together; they never change after the start."""

    model_config = ConfigDict(frozen=True, extra="forbid")
