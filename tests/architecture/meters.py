"""Measures what the house rules are about, on the code itself; `make meters` prints it.

Hops are counted as they happen: a photo goes through a server, another through `batchmill run`,
while a profiler notes every function below src/batchmill that is entered.
"""

import ast
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "batchmill"
TRACER = Path(__file__).with_name("traced_photo.py")
BANNED = (
    *("somebody", "nobody", "whoever", "everybody"),
    *("anew", "for ever", "nursery", "unborn", "last words"),
)
"""Private or stilted words; no page lists them."""
WRITTEN = ("src", "docs", "README.md", "frontend")
"""Where banned words are looked for: what people read who use or change the product."""
DIRECTIVE = re.compile(r"#\s*(noqa|type:|ruff:|pragma)")
TEXTS = frozenset({".py", ".md", ".ts", ".tsx", ".css", ".html", ".toml"})


@dataclass(frozen=True, slots=True)
class Hops:
    """Distinct functions and files that one photo passes."""

    functions: frozenset[str]
    files: frozenset[str]


def server_hops() -> Hops:
    """Trace the second photo through a server in one process, from its POST to its batch's end.

    Counted are all threads of the server, not the child; sweep and heartbeat are slow, so that
    they do not fall in between.
    """
    return _traced("server")


def run_hops() -> Hops:
    """Trace one photo through `batchmill run`: the parent process, from the command's entry."""
    return _traced("run")


def _traced(way: str) -> Hops:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, str(TRACER), way, folder],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
            env={name: value for name, value in os.environ.items() if "BATCHMILL_" not in name},
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        functions = frozenset(json.loads(done.stdout.splitlines()[-1]))
    return Hops(functions, frozenset(each.split(":")[0] for each in functions))


def sources() -> list[Path]:
    """Return every Python file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def class_names() -> Mapping[str, list[str]]:
    """Return the names that more than one class has, nested ones too, with their files."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sources():
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(path.relative_to(PACKAGE).as_posix())
    return {name: places for name, places in sorted(found.items()) if len(places) > 1}


def public_duplicates() -> Mapping[str, list[str]]:
    """Return the duplicate class names that do not begin with an underscore."""
    return {name: places for name, places in class_names().items() if name[0] != "_"}


def circles() -> list[list[str]]:
    """Return groups of modules that import each other, be it lazily or for types alone."""
    graph = {name: _imports(path, set(modules())) for name, path in modules().items()}
    return [sorted(group) for group in _components(graph) if len(group) > 1]


def modules() -> dict[str, Path]:
    """Return the package's modules by name."""
    named = {}
    for path in sources():
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def _imports(path: Path, known: set[str]) -> set[str]:
    found = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known


def _components(graph: Mapping[str, set[str]]) -> Iterator[set[str]]:
    """Yield the strongly connected components: two modules share one if each reaches the other."""
    reach = {name: _reachable(graph, name) for name in graph}
    seen: set[str] = set()
    for name in graph:
        if name not in seen:
            group = {name} | {other for other in reach[name] if name in reach[other]}
            seen |= group
            yield group


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in graph[waiting.pop()] - found:
            found.add(name)
            waiting.append(name)
    return found


def settings_count() -> int:
    """Return how many settings an administrator sees."""
    from batchmill.settings import loading

    return len(loading.settings())


def banned_words() -> Mapping[str, int]:
    """Return how often each banned word stands in what people read."""
    pattern = re.compile(r"\b(" + "|".join(BANNED).replace(" ", r"[ _]") + r")\b", re.IGNORECASE)
    counts: Counter[str] = Counter()
    for path in _texts():
        text = re.sub(r"(?<=[a-z])_|_(?=[a-z])", " ", path.read_text(encoding="utf-8"))
        counts.update(found.lower() for found in pattern.findall(text))
    return dict(counts.most_common())


def _texts() -> Iterator[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--", *WRITTEN], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in TEXTS and path.exists():
            yield path


def lines_per_folder() -> Mapping[str, tuple[int, int]]:
    """Return files and lines of each folder of the package, its subfolders not counted."""
    totals: dict[str, tuple[int, int]] = {}
    for path in sources():
        folder = path.parent.relative_to(PACKAGE.parent).as_posix()
        files, lines = totals.get(folder, (0, 0))
        totals[folder] = (files + 1, lines + len(path.read_text(encoding="utf-8").splitlines()))
    return totals


def comments_per_100_lines() -> float:
    """Return how many comments stand beside 100 lines of code; directives and docstrings do not."""
    comments = code = 0
    for path in sources():
        prose = _docstring_lines(_tree(path))
        text = path.read_text(encoding="utf-8")
        lines = enumerate(text.splitlines(), start=1)
        code += sum(
            bool(line.strip()) and number not in prose and not line.lstrip().startswith("#")
            for number, line in lines
        )
        comments += sum(
            token.type == tokenize.COMMENT and not DIRECTIVE.match(token.string)
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
        )
    return round(100 * comments / code, 1)


def _docstring_lines(tree: ast.Module) -> set[int]:
    """Return the lines of strings that stand alone: docstrings, and those below a constant."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _shown(title: str, value: object, rows: Iterable[str] = ()) -> None:
    print(f"{title:28}{value}")
    for row in rows:
        print(f"  {row}")


def _number_of(hops: Hops) -> str:
    return f"{len(hops.functions)} functions, {len(hops.files)} files"


def main() -> None:
    """Print every meter."""
    words, names, found = banned_words(), public_duplicates(), circles()
    private = len(class_names()) - len(names)
    _shown("one photo, server", _number_of(server_hops()))
    _shown("one photo, batchmill run", _number_of(run_hops()))
    _shown("settings", settings_count())
    _shown("comments per 100 lines", comments_per_100_lines())
    _shown("banned words", sum(words.values()), (f"{n:4} {word}" for word, n in words.items()))
    named = (f"{name}: {', '.join(places)}" for name, places in names.items())
    _shown("class names of several", f"{len(names)}, and {private} private", named)
    _shown("import circles", len(found), (" ".join(each) for each in found))
    _shown(
        "lines per folder",
        "",
        (f"{folder:42} {n:3} files {lines:6}" for folder, (n, lines) in lines_per_folder().items()),
    )


if __name__ == "__main__":
    main()
