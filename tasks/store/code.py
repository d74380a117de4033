"""The digest of the code that makes rows: an ingredient of every table that is quick to compute."""

import ast
from functools import cache
from pathlib import Path

import duckdb

from tasks.store.digest import digest_of

_ROOT = Path(__file__).resolve().parents[2]
# The functions of all queries.
_INTERVALS = _ROOT / "tasks" / "store" / "published" / "intervals.sql"
# These rooms move rows and do not make them, but for two modules.
_INFRASTRUCTURE = ("tasks.runtime", "tasks.store", "tasks.table_task")
_MAKERS = ("tasks.store.digest", "tasks.store.embeddings")


@cache
def digest_code(*modules: str) -> str:
    """Compute the digest of modules and of all modules of the stages that they import.

    Comments, formatting and docstrings do not change it. The SQL beside a module `queries` belongs
    to it. The imports of a module `task` are not followed, since it imports the code of all tasks
    of its stage. modules: names such as `tasks.score.predict`. Raises ValueError for a name that is
    no module.
    """
    found: dict[str, list[str]] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or (_is_infrastructure(name) and name not in _MAKERS):
            continue
        path = _find_file(name)
        if path is None:
            raise ValueError(f"{name} is not a module of this project.")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        _remove_docstrings(tree)
        found[name] = [ast.unparse(tree), *_read_queries(path)]
        if path.stem != "task":
            waiting += [module for module in _list_imports(tree) if _find_file(module)]
    return digest_of(sorted(found.items()))


def _is_infrastructure(name: str) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in _INFRASTRUCTURE)


def _find_file(name: str) -> Path | None:
    """The file of a module of the stages; None for other names."""
    path = _ROOT.joinpath(*name.split(".")).with_suffix(".py")
    return path if name.startswith("tasks.") and path.is_file() else None


def _list_imports(tree: ast.Module) -> list[str]:
    """The names that are imported, each of which may be a module; also those within functions."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _remove_docstrings(tree: ast.Module) -> None:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]


def _read_queries(path: Path) -> list[str]:
    """The queries of a module named `queries`, without comments and line breaks."""
    if path.stem != "queries":
        return []
    files = [_INTERVALS, *sorted(path.parent.glob("sql/**/*.sql"))]
    return [_normalize_sql(file.read_text(encoding="utf-8")) for file in files]


def _normalize_sql(text: str) -> str:
    tokens = duckdb.tokenize(text)
    starts = [start for start, _ in tokens]
    words = [
        text[start:end].strip()
        for (start, kind), end in zip(tokens, [*starts[1:], len(text)], strict=True)
        if kind != duckdb.token_type.comment
    ]
    return " ".join(words)
