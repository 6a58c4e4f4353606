"""Every test can fail: what each test function asserts is read from its syntax tree.

An assertion is an `assert`, `pytest.raises`, `warns` or `fail`, playwright's `expect` or a wait of
its (they raise), `raise_for_status`, or a call of a function of the tests that surely asserts, two
levels down. It is sure when it does not stand only below an `if` without an equal `else`, or in
a loop that may go over nothing.
"""

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
FILES = sorted(TESTS.rglob("*.py"))
LEVELS = 2
RAISE = frozenset(
    {"raises", "warns", "fail", "expect", "expect_download", "raise_for_status"}
    | {"wait_for", "wait_for_url", "wait_for_function"}
    | {"kubernetes_validate.validate"}
)
"""Calls that raise when what they are told does not hold."""
PASS_ON = frozenset({"enumerate", "sorted", "reversed", "list", "tuple", "set", "zip", "pairwise"})
"""Functions of which something comes out when something goes in."""
ENDLESS = frozenset({"count", "cycle", "repeat"})

Function = ast.FunctionDef | ast.AsyncFunctionDef
ANY_ERROR = frozenset({"Exception", "BaseException"})


class Module:
    """A module of the tests: its functions and the constants that surely hold something."""

    def __init__(self, text: str) -> None:
        self.tree = ast.parse(text)

    @cached_property
    def functions(self) -> dict[str, Function]:
        """The functions that others can call: not those inside of functions."""
        classes = [each for each in self.tree.body if isinstance(each, ast.ClassDef)]
        bodies = [self.tree.body, *(each.body for each in classes)]
        found = [each for body in bodies for each in body]
        return {each.name: each for each in found if isinstance(each, Function)}

    @property
    def tests(self) -> list[Function]:
        return [each for name, each in self.functions.items() if name.startswith("test_")]

    @cached_property
    def full(self) -> frozenset[str]:
        """Names that are bound to something that is not empty, and once only."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign) and self.holds(node.value, found):
                found |= {each.id for target in node.targets for each in _names(target)}
        return frozenset(found)

    def holds(self, node: ast.expr, full: set[str] | None = None) -> bool:
        """Say whether an expression surely has at least one member."""
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            inner = [each.value if isinstance(each, ast.Starred) else None for each in node.elts]
            return any(each is None or self.holds(each, full) for each in inner)
        if isinstance(node, ast.BinOp):
            return self.holds(node.left, full) or self.holds(node.right, full)
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            return all(self.holds(each.iter, full) and not each.ifs for each in node.generators)
        if isinstance(node, ast.Call):
            return self._call_holds(node, full)
        return self._value_holds(node, full)

    def _value_holds(self, node: ast.expr, full: set[str] | None) -> bool:
        if isinstance(node, ast.Dict):
            return bool(node.keys)
        if isinstance(node, ast.Constant):
            return isinstance(node.value, str | bytes) and bool(node.value)
        return isinstance(node, ast.Name) and node.id in (self.full if full is None else full)

    def _call_holds(self, node: ast.Call, full: set[str] | None) -> bool:
        name = _called(node).rpartition(".")[2]
        if name in ENDLESS:
            return True
        if name == "range":
            return _counts(node)
        if name in PASS_ON:
            return bool(node.args) and all(self.holds(each, full) for each in node.args)
        if isinstance(node.func, ast.Attribute) and name in {"items", "values", "keys", "split"}:
            return self.holds(node.func.value, full)
        return False


@cache
def _module(path: Path) -> Module:
    return Module(path.read_text(encoding="utf-8"))


@cache
def _shared() -> Mapping[str, Sequence[tuple[Module, Function]]]:
    """Return the functions of all modules by their names."""
    found: dict[str, list[tuple[Module, Function]]] = {}
    for module in map(_module, FILES):
        for name, function in module.functions.items():
            found.setdefault(name, []).append((module, function))
    return found


def _names(target: ast.expr) -> list[ast.Name]:
    if isinstance(target, ast.Tuple):
        return []
    return [target] if isinstance(target, ast.Name) else []


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def _counts(node: ast.Call) -> bool:
    """Say whether a `range` of whole numbers, or of names in capitals, has one."""
    bounds = node.args[:2]
    if all(isinstance(each, ast.Constant) for each in bounds):
        return len(range(*(ast.literal_eval(each) for each in bounds))) > 0
    return len(bounds) == 1 and ast.unparse(bounds[0]).isupper()


def asserts(module: Module, function: Function, levels: int = LEVELS) -> bool:
    """Say whether a function surely asserts something when it is called."""
    return any(_surely(module, each, levels) for each in function.body)


def _surely(module: Module, node: ast.stmt, levels: int) -> bool:
    if isinstance(node, ast.Assert):
        return not _is_always_true(node.test)
    if isinstance(node, ast.Raise):
        return True
    if isinstance(node, ast.With | ast.AsyncWith):
        if any(_calls(module, each, levels) for each in node.items):
            return True
    elif type(node) not in WAYS:
        return _calls(module, node, levels)
    ways = WAYS[type(node)](module, node)
    return all(any(_surely(module, each, levels) for each in way) for way in ways)


def _tried(node: ast.Try) -> list[list[ast.stmt]]:
    handled = [each.body for each in node.handlers]
    return [way + node.finalbody for way in ([*node.body, *node.orelse], *handled)]


def _looped(node: ast.While) -> list[list[ast.stmt]]:
    return [node.body if isinstance(node.test, ast.Constant) else []]


WAYS: dict[type[ast.stmt], Callable[[Module, Any], list[list[ast.stmt]]]] = {
    ast.FunctionDef: lambda _, node: [node.body],
    ast.AsyncFunctionDef: lambda _, node: [node.body],
    ast.With: lambda _, node: [node.body],
    ast.AsyncWith: lambda _, node: [node.body],
    ast.If: lambda _, node: [node.body, node.orelse],
    ast.For: lambda module, node: [node.body if module.holds(node.iter) else []],
    ast.AsyncFor: lambda _, node: [[]],
    ast.While: lambda _, node: _looped(node),
    ast.Try: lambda _, node: _tried(node),
    ast.Match: lambda _, node: [each.body for each in node.cases],
}
"""The ways through a statement of several: each of them has to assert."""


def _calls(module: Module, node: ast.AST, levels: int) -> bool:
    """Say whether something is called in `node` that surely asserts."""
    for call in (each for each in ast.walk(node) if isinstance(each, ast.Call)):
        whole = _called(call)
        name = whole.rpartition(".")[2]
        if name in RAISE or whole in RAISE:
            return True
        if levels and any(asserts(*each, levels - 1) for each in _meant(module, name)):
            return True
    return False


def _meant(module: Module, name: str) -> list[tuple[Module, Function]]:
    """Return the functions of the tests that may be called by this name: here, or anywhere."""
    if name in module.functions:
        return [(module, module.functions[name])]
    return [each for each in _shared().get(name, ()) if not name.startswith("test_")]


def _without_assertion(module: Module) -> list[str]:
    return [each.name for each in module.tests if not asserts(module, each)]


def _swallowed(module: Module) -> Iterator[str]:
    """Name the tests that let an error pass, or are content with any."""
    for test in module.tests:
        for node in ast.walk(test):
            if isinstance(node, ast.ExceptHandler):
                if all(isinstance(each, ast.Pass | ast.Continue) for each in node.body):
                    yield f"{test.name}: an error passes"
            elif isinstance(node, ast.Call) and _called(node).endswith("raises"):
                kinds = {each.id for arg in node.args for each in _names_in(arg)}
                if kinds & ANY_ERROR and not any(each.arg == "match" for each in node.keywords):
                    yield f"{test.name}: any error will do"
            elif isinstance(node, ast.Assert) and _is_always_true(node.test):
                yield f"{test.name}: asserts what is always true"


def _names_in(node: ast.AST) -> list[ast.Name]:
    return [each for each in ast.walk(node) if isinstance(each, ast.Name)]


def _is_always_true(node: ast.expr) -> bool:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        return any(_is_always_true(each) for each in node.values)
    if isinstance(node, ast.Tuple):
        return bool(node.elts)
    return isinstance(node, ast.Constant) and bool(node.value)


def _by_file(look: Callable[[Module], Iterable[str]]) -> Mapping[str, Sequence[str]]:
    """Return what is found in each file in which something is."""
    found = {path.relative_to(TESTS).as_posix(): list(look(_module(path))) for path in FILES}
    return {path: names for path, names in found.items() if names}


def test_every_test_asserts_something_whatever_happens() -> None:
    assert _by_file(_without_assertion) == {}


def test_no_test_lets_an_error_pass_or_takes_any() -> None:
    assert _by_file(_swallowed) == {}


@pytest.mark.parametrize(
    "body",
    [
        "work()",
        "if made: assert made.size",
        "for each in made(): assert each",
        "for each in []: assert each",
        "assert True",
        "def test_helper(): pass\n    work()",
        "try:\n        assert work()\n    except ValueError:\n        pass",
    ],
)
def test_a_test_that_may_assert_nothing_is_found(body: str) -> None:
    assert _without_assertion(Module(f"def test_it():\n    {body}\n")) == ["test_it"]


@pytest.mark.parametrize(
    "body",
    [
        "assert work()",
        "for each in (1, 2): assert each",
        "if made: assert made.size\n    else: assert work()",
        "with pytest.raises(ValueError): work()",
        "expect(page).to_have_title('x')",
        "async def story(): assert await work()\n    asyncio.run(story())",
    ],
)
def test_a_test_that_asserts_is_not_found(body: str) -> None:
    assert _without_assertion(Module(f"def test_it():\n    {body}\n")) == []


@pytest.mark.parametrize(
    "body",
    [
        "with pytest.raises(Exception): work()",
        "assert work() or True",
        "assert (work(), 'why')",
        "try: work()\n    except ValueError: pass",
    ],
)
def test_a_test_that_is_content_with_anything_is_found(body: str) -> None:
    assert len(list(_swallowed(Module(f"def test_it():\n    {body}\n")))) == 1
