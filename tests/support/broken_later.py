"""Loads into children what `misbehaving` does, and can't load the rest."""

from importlib import import_module

_misbehaving = import_module("misbehaving")
execute, warm = _misbehaving.execute, _misbehaving.warm


def warm_more() -> None:
    raise ImportError("a library is missing")
