"""CUSTOM: call a function of your own, by its import path or by a name you registered."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ..errors import TaskDataError
from ..types import WorkerTaskType
from .context import TaskContext
from .payload import Payload
from .registry import built_in, functions


class Call(Payload):
    """Call a function; what it returns is the result.

    A function that has a parameter ``ctx`` gets the task's context by it.
    """

    RESULT: ClassVar[Any] = None

    function: str | None = None
    """`"package.module.function"`, of a module that the settings allow. Either this or `name`."""
    name: str | None = None
    """A name that `@function("name")` registered in one of the handler modules."""
    args: list[Any] = Field([], repr=False)
    """Its arguments by place."""
    kwargs: dict[str, Any] = Field({}, repr=False)
    """Its arguments by name."""

    @field_validator("function")
    @classmethod
    def _allowed(cls, path: str | None, info: ValidationInfo) -> str | None:
        if path is not None:
            _split(path, (info.context or {}).get("modules", ()))
        return path

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.function is None) == (self.name is None):
            raise ValueError("either function or name (or register a handler of your own)")
        return self


MODELS = (Call,)


@built_in(WorkerTaskType.CUSTOM, payload=Call)
def call(payload: Call, ctx: TaskContext) -> Any:
    """Find the function and call it.

    Raises:
        TaskDataError: there is no such function, or it does not take these arguments.
        Exception: whatever the function raises.
    """
    target = _registered(payload.name) if payload.name else _imported(payload.function or "", ctx)
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # Some functions in C do not tell.
        return target(*payload.args, **payload.kwargs)
    kwargs = dict(payload.kwargs)
    if "ctx" in signature.parameters:
        kwargs["ctx"] = ctx
    try:
        signature.bind(*payload.args, **kwargs)
    except TypeError as exc:
        raise TaskDataError(f"{payload.function or payload.name}: {exc}") from None
    return target(*payload.args, **kwargs)


def _registered(name: str) -> Callable[..., Any]:
    known = functions()
    if name not in known:
        raise TaskDataError(
            f"no function is registered as {name!r} (there are: {', '.join(sorted(known)) or '-'})"
        )
    return known[name]


def _imported(path: str, ctx: TaskContext) -> Callable[..., Any]:
    try:
        module_name, name = _split(path, ctx.modules)
    except ValueError as exc:
        raise TaskDataError(f"function = {path!r}: expected {exc}") from None
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not (module_name + ".").startswith(exc.name + "."):
            raise  # The module is there, and something that it imports is not.
        text = f"no module {module_name!r} in PYTHONPATH"
        raise TaskDataError(f"function = {path!r}: {text}") from None
    target = getattr(module, name, None)
    # What a module imported for itself (os.system, say) is not its own to offer.
    offered = getattr(module, "__all__", None)
    own = (
        name in offered
        if offered is not None
        else (getattr(target, "__module__", None) == module_name)
    )
    if not callable(target) or not own:
        raise TaskDataError(f"function = {path!r}: module {module_name!r} has no such function")
    found: Callable[..., Any] = target
    return found


def _split(path: str, modules: Iterable[str]) -> tuple[str, str]:
    """Module and name; ValueError says what is expected instead."""
    module, _, name = path.rpartition(".")
    parts = path.split(".")
    if not module or not all(part.isidentifier() for part in parts):
        raise ValueError("'package.module.function'")
    if name.startswith("_"):
        raise ValueError("a function whose name does not begin with an underscore")
    for allowed in modules:
        if module == allowed or (
            allowed.endswith(".*") and (module + ".").startswith(allowed.removesuffix("*"))
        ):
            return module, name
    raise ValueError(
        f"a function of a module that the settings allow ({', '.join(modules) or 'none'})"
    )
