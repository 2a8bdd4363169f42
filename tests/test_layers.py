"""Imports point down only, and each layer keeps to its business.

    manager
    cli, embedded
    adapter, gate, handlers, stored, tasks
    engine
    process, events, metrics
    policy
    types, errors, settings, spelling

Also: no file above 400 lines, and no function above 40.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "celery_workerpool"

#: The height of each module or subpackage of the package; it imports what is lower or its own.
HEIGHTS = {
    "types": 0,
    "errors": 0,
    "settings": 0,
    "spelling": 0,
    "policy": 1,
    "process": 2,
    "events": 2,
    "metrics": 2,
    "engine": 3,
    "adapter": 4,
    "gate": 4,
    "handlers": 4,
    "stored": 4,
    "tasks": 4,
    "cli": 5,
    "embedded": 5,
    "manager": 6,
    "__main__": 7,
}
#: The front door imports from everywhere; nobody behind it imports from it, but the version.
FRONT = "__init__"
VERSION = "__version__"

#: Modules of others that a part of the package may not import, each with its submodules.
FORBIDDEN = {
    "policy": (
        "a decision takes its time, and its world, as arguments",
        [
            *("time", "datetime", "random", "os", "sys", "signal", "socket", "subprocess"),
            *("threading", "multiprocessing", "logging", "celery", "kombu", "billiard", "psutil"),
        ],
    ),
    "process": ("only the adapter knows Celery", ["celery", "kombu"]),
    "engine": ("only the adapter knows Celery", ["celery", "kombu", "billiard"]),
    "handlers": (
        "a handler is a plain function",
        [
            *("celery", "kombu", "billiard"),
            *(f"celery_workerpool.{part}" for part in ("engine", "process", "adapter")),
        ],
    ),
    "types": ("words only", ["time", "os", "celery", "kombu", "billiard"]),
    "errors": ("words only", ["time", "os", "celery", "kombu", "billiard"]),
    "events": ("words only", ["time", "os", "celery", "kombu", "billiard"]),
    "metrics": ("they count what they are told", ["time", "os", "celery", "kombu", "billiard"]),
    "settings": ("a plain record", ["time", "os", "celery", "kombu", "billiard"]),
}

#: What only these do: starting, ending, signalling and awaiting processes. The pool's children are
#: the business of ``process``; ``embedded`` has a host, a broker and a worker of its own, and the
#: command line hears Ctrl-C.
STARTERS = ("process", "embedded", "__main__")
PROCESS_CALLS = {
    "os.fork",
    "os.forkpty",
    "os.kill",
    "os.killpg",
    "os.waitpid",
    "os.waitid",
    "os.wait",
    "os.setsid",
    "os.execv",
    "os._exit",
    "signal.signal",
    "signal.set_wakeup_fd",
    "signal.pthread_sigmask",
    "signal.pthread_kill",
    "socket.socketpair",
}

FILES = sorted(PACKAGE.rglob("*.py"))


def part(file: Path) -> str:
    """``policy`` for policy/sizing.py, ``types`` for types.py."""
    top = file.relative_to(PACKAGE).parts[0]
    return top.removesuffix(".py")


def place(file: Path, node: ast.AST) -> str:
    return f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def imports(file: Path) -> Iterator[tuple[ast.AST, str]]:
    """Every import of a file, absolute: ``("celery_workerpool.policy.sizing.decide")``."""
    package = ["celery_workerpool", *file.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, node.module] if node.module else base)
            for alias in node.names:
                yield node, f"{module}.{alias.name}"


def test_every_part_has_its_height() -> None:
    assert {part(file) for file in FILES} == {*HEIGHTS, FRONT}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_down(file: Path) -> None:
    if part(file) == FRONT:
        return
    for node, name in imports(file):
        package, _, rest = name.partition(".")
        if package != "celery_workerpool" or rest == VERSION:
            continue
        other = rest.partition(".")[0]
        assert other in HEIGHTS, f"{place(file, node)}: import {name} from where it is defined"
        assert other == part(file) or HEIGHTS[other] <= HEIGHTS[part(file)], (
            f"{place(file, node)}: {part(file)} imports {name}, which is above it"
        )


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_each_layer_keeps_to_its_business(file: Path) -> None:
    why, names = FORBIDDEN.get(part(file), ("", []))
    for node, name in imports(file):
        parts = name.split(".")
        for top in (parts[0], ".".join(parts[:2])):
            assert top not in names, f"{place(file, node)}: {part(file)} imports {top}; {why}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_only_these_start_end_and_signal_processes(file: Path) -> None:
    if part(file) in STARTERS:
        return
    for node in ast.walk(ast.parse(file.read_text())):
        name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        assert name not in PROCESS_CALLS, f"{place(file, node)}: {name} belongs into process/"
    for node, name in imports(file):
        assert name not in PROCESS_CALLS, f"{place(file, node)}: {name} belongs into process/"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_files_and_functions_stay_small(file: Path) -> None:
    text = file.read_text()
    lines = text.count("\n")
    assert lines <= 400, f"{place(file, ast.Module())}: {lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            first = node.body[0].lineno if ast.get_docstring(node) is None else body_start(node)
            length = node.end_lineno - first + 1
            assert length <= 40, f"{place(file, node)}: {node.name} has {length} lines"


def body_start(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The first line after the docstring."""
    return (node.body[0].end_lineno or node.lineno) + 1


def test_the_rules_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    (tmp_path / "policy").mkdir()
    bad = tmp_path / "policy" / "bad.py"
    for source, rule, message in [
        ("\nfrom ..engine.crew import Crew", test_imports_point_down, r"policy/bad\.py:2: policy"),
        ("from .. import WorkerPool", test_imports_point_down, "from where it is defined"),
        ("import time", test_each_layer_keeps_to_its_business, r"bad\.py:1: policy imports time"),
        ("from os import kill", test_only_these_start_end_and_signal_processes, "os.kill"),
        ("\nos.fork()", test_only_these_start_end_and_signal_processes, r":2: os\.fork"),
        ("\n" * 401, test_files_and_functions_stay_small, "401 lines"),
        ("def f():\n" + "    x\n" * 41, test_files_and_functions_stay_small, "f has 41 lines"),
    ]:
        bad.write_text(source)
        with pytest.raises(AssertionError, match=message):
            rule(bad)
