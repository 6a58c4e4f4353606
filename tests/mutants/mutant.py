"""A mutant: one line of the product broken on purpose, and the tests that have to notice."""

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class UnusableError(Exception):
    """A mutant, or the tree itself, can't be tried; the message says why."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` becomes `new` in one file; `breaks` says which law is gone then.

    `old` stands in the file exactly once. Keep it short: a rename that touches it breaks the
    mutant, and `make mutants` says so. `tests` are pytest's names of files or tests; with
    `on_servers` they run as in the long ring, over all databases. A mutant that no test can tell
    from the product has none, and `equivalent` says why.
    """

    name: str
    file: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...] = ()
    equivalent: str = ""
    on_servers: bool = False

    def broken(self, text: str) -> str:
        """Return a file's text with the mutant in it.

        Raises:
            UnusableError: the mutant does not fit the file, or names neither tests nor a reason.
        """
        times = text.count(self.old)
        if times != 1:
            raise UnusableError(f"{self.name}: its text is {times} times in {self.file}, not once")
        if bool(self.tests) == bool(self.equivalent):
            raise UnusableError(f"{self.name}: name tests, or say why it is equivalent")
        return text.replace(self.old, self.new)


def listed() -> Sequence[Mutant]:
    """Return the mutants of every list beside this module.

    Raises:
        UnusableError: two have the same name.
    """
    found: list[Mutant] = []
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name not in ("__main__", "child", "mutant"):
            found += importlib.import_module(f"mutants.{module.name}").MUTANTS
    names = [each.name for each in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UnusableError(f"These names are given twice: {', '.join(sorted(twice))}")
    return found
