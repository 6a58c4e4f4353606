"""Values of JSON that every database takes: without U+0000 and halves of characters."""

from typing import Any


def storable(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a value of JSON without U+0000; a lone surrogate in it becomes a question mark.

    PostgreSQL takes neither in a text or in JSON, and files hold both.
    """
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {storable(key): storable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [storable(each) for each in value]
    return value
