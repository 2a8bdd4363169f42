"""Which function runs a task of which type: yours where you registered one, else built in."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import SettingsError
from ..types import WorkerTaskType
from .context import TaskContext
from .libraries import PYDANTIC, require

Run = Callable[[Any, TaskContext], Any]
F = TypeVar("F", bound=Callable[..., Any])

_MODULES = {kind: f"{__package__}.{kind.value.lower()}" for kind in WorkerTaskType}


@dataclass(frozen=True)
class Handler:
    """What runs tasks of one type."""

    type: WorkerTaskType
    run: Run
    #: A pydantic model, a union of them, or any type that pydantic validates; None: the handler
    #: takes the payload as it was submitted.
    payload: Any = None

    @functools.cached_property
    def adapter(self) -> Any:
        """The pydantic ``TypeAdapter`` of the payload; None where nothing is validated.

        Raises:
            MissingLibraryError: pydantic is not installed.
        """
        if self.payload is None:
            return None
        require(self.type, [PYDANTIC])
        from pydantic import TypeAdapter

        return TypeAdapter(self.payload)


_handlers: dict[WorkerTaskType, Handler] = {}
_built_in: dict[WorkerTaskType, Handler] = {}
_functions: dict[str, Callable[..., Any]] = {}


def handler(task_type: WorkerTaskType, *, payload: Any = None) -> Callable[[F], F]:
    """Let a function run all tasks of a type, in place of what ran them before.

        @handler(WorkerTaskType.CUSTOM, payload=Order)
        def process_order(order: Order, ctx: TaskContext) -> dict[str, object]: ...

    The result must be plain data: numbers, strings, bytes, lists, dicts.
    """
    kind = WorkerTaskType(task_type)

    def register(run: F) -> F:
        _handlers[kind] = Handler(kind, run, payload)
        return run

    return register


def built_in(task_type: WorkerTaskType, *, payload: Any) -> Callable[[F], F]:
    """Let a function run all tasks of a type unless :func:`handler` named another."""

    def register(run: F) -> F:
        _built_in[task_type] = Handler(task_type, run, payload)
        return run

    return register


def function(name: str) -> Callable[[F], F]:
    """Let CUSTOM tasks call a function by this name: ``{"name": name, "kwargs": {…}}``."""

    def register(target: F) -> F:
        _functions[name] = target
        return target

    return register


def functions() -> dict[str, Callable[..., Any]]:
    """The functions registered by name."""
    return dict(_functions)


def find(task_type: WorkerTaskType) -> Handler:
    """The handler of a type; the built-in one is imported when it is first asked for.

    Raises:
        MissingLibraryError: the built-in handler needs pydantic.
    """
    if task_type in _handlers:
        return _handlers[task_type]
    if task_type not in _built_in:
        require(task_type, [PYDANTIC])
        importlib.import_module(_MODULES[task_type])
    return _built_in[task_type]


def load(modules: Iterable[str]) -> None:
    """Import modules that register handlers: dotted names, or paths of ``.py`` files.

    Raises:
        SettingsError: one of them cannot be imported; its own error is the cause.
    """
    for module in modules:
        try:
            if module.endswith(".py"):
                _load_file(Path(module).resolve())
            else:
                importlib.import_module(module)
        except Exception as exc:  # Importing runs the user's code, which may raise anything.
            reason = f"{type(exc).__name__}: {exc}"
            raise SettingsError(
                "handler_modules", module, f"a module that can be imported ({reason})"
            ) from exc


def _load_file(path: Path) -> None:
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"_workerpool_handlers_{path.stem}_{digest}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
