"""From a payload as it came to a model its handler can trust, or to one clear line."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..errors import InvalidTaskError
from ..types import WorkerTaskType
from .context import TaskContext
from .files import Files
from .libraries import require
from .registry import find
from .shown import HIDDEN, NOTHING, Shown, is_secret, short, shown

#: Fields of an ENCRYPTION payload that may be shown.
_OPEN = {f"payload.{name}" for name in ("operation", "algorithm", "ttl", "input", "output")}


def task_type(value: Any) -> WorkerTaskType:
    """The type that a member or its name means.

    Raises:
        InvalidTaskError: there is none.
    """
    try:
        return WorkerTaskType(value)
    except ValueError:
        expected = _choice(value, [kind.value for kind in WorkerTaskType])
        raise InvalidTaskError("type", short(value), expected) from None


def validate(
    kind: WorkerTaskType,
    payload: object,
    *,
    files: Files | None = None,
    modules: Iterable[str] = (),
    libraries: bool = True,
    dependencies: Collection[str] | None = None,
) -> Any:
    """What the handler of ``kind`` would get; raises if it could not take it.

    Opens no file, resolves no key and imports no library but pydantic.

    Args:
        kind: Type of the task.
        payload: As it was submitted; sent as it is, not as what is returned here.
        files: Where paths may lead.
        modules: Where the functions of CUSTOM tasks may be: names of modules, ``"package.*"``
            for all below one.
        libraries: Whether optional libraries must be installed here; a client may lack what
            its workers have.
        dependencies: Ids of the tasks that it waits for; None where their results are at hand,
            and the handler sees for itself.

    Raises:
        InvalidTaskError: names the field, what came and what is expected, in one line.
        MissingLibraryError: the task needs an optional library that is not installed.
    """
    entry = find(kind)
    if entry.adapter is None:
        return payload
    if not isinstance(payload, Mapping):
        raise InvalidTaskError("payload", short(payload), "an object with named fields")
    from pydantic import ValidationError

    context = {"files": files or Files(), "modules": tuple(modules)}
    error: InvalidTaskError | None = None
    try:
        model = entry.adapter.validate_python(dict(payload), context=context)
    except ValidationError as exc:
        error = _explain(exc.errors(include_url=False), payload)
        if _may_be_a_key(kind, error):
            # Whatever came may be a key in the wrong place.
            error = InvalidTaskError(error.option, HIDDEN, error.expected)
    if error is not None:
        raise error  # Outside of the handler: pydantic's error would drag the payload along.
    if dependencies is not None and hasattr(model, "lacking"):
        lacking = model.lacking(dependencies)
        if lacking is not None:
            field, expected = lacking
            raise _invalid(*_walk((field,) if field else (), payload), expected)
    if libraries:
        require(kind, getattr(model, "libraries", tuple)())
    return model


def run(kind: WorkerTaskType, payload: object, ctx: TaskContext) -> Any:
    """Validate the payload and call the handler; in the worker.

    Raises:
        InvalidTaskError, TaskDataError: permanent.
        TaskCancelled: ``ctx`` said that the result is not wanted.
        Exception: whatever the handler raises.
    """
    model = validate(kind, payload, files=ctx.files, modules=ctx.modules)
    return find(kind).run(model, ctx)


def _may_be_a_key(kind: WorkerTaskType, error: InvalidTaskError) -> bool:
    hidden = kind is WorkerTaskType.ENCRYPTION and error.option not in _OPEN
    return hidden and error.value is not NOTHING


def _explain(errors: list[Any], payload: Mapping[str, Any]) -> InvalidTaskError:
    # A misspelt name explains a missing one, so it comes first.
    first = next((e for e in errors if e["type"] == "unknown_field"), errors[0])
    names, value = _walk(first["loc"], payload)
    detail = first.get("ctx", {})
    match first["type"]:
        case "unknown_field":
            name = str(detail["name"]) if not any(map(is_secret, names)) else "(hidden)"
            expected = f"one of {', '.join(detail['fields'])}{_close(name, detail['free'])}"
            return _invalid([*names, name], value.get(detail["name"]), expected)
        case "unknown_choice":
            spellings = detail["names"].split(",")
            used = next((name for name in spellings if name in value), spellings[0])
            came = value.get(used, NOTHING)
            return _invalid([*names, used], came, _choice(came, detail["choices"].split(",")))
        case "wrong_field":
            used = detail["field"] if detail["field"] in value else _camel(detail["field"])
            return _invalid([*names, used], value.get(used, NOTHING), detail["expected"])
        case "missing":
            return _invalid(names, NOTHING, "this field, which has no default")
        case "value_error":
            return _invalid(names, value, str(detail["error"]))
        case "extra_forbidden":
            return _invalid(names, value, "no field of that name")
    return _invalid(names, value, _expectation(first["msg"]))


def _invalid(names: list[str], value: object, expected: str) -> InvalidTaskError:
    return InvalidTaskError(".".join(["payload", *names]), _came(names, value), expected)


def _walk(loc: tuple[Any, ...], payload: Any) -> tuple[list[str], Any]:
    """The fields on the way to a place in the payload, and the value there."""
    names: list[str] = []
    value = payload
    for step in loc:
        if isinstance(step, str) and "=" in step:
            continue  # the choice of a union
        if isinstance(value, Mapping):
            key = step if step in value else _camel(step)
            names.append(str(step))
            value = value.get(key, NOTHING)
        elif isinstance(value, list | tuple) and isinstance(step, int) and step < len(value):
            names.append(names.pop() + f"[{step}]" if names else f"[{step}]")
            value = value[step]
    return names, value


def _camel(name: object) -> str:
    head, *rest = str(name).split("_")
    return head + "".join(part.capitalize() for part in rest)


def _came(names: list[str], value: object) -> object:
    if value is NOTHING:
        return NOTHING
    if any(map(is_secret, names)):
        return HIDDEN
    if isinstance(value, Mapping):
        return Shown("{" + ", ".join(map(_name, value)) + "}")
    return short(value)


def _name(name: object) -> str:
    return name if isinstance(name, str) and name.isidentifier() else shown(name)


def _expectation(message: str) -> str:
    for opening in ("Input should be ", "Value should be "):
        if message.startswith(opening):
            expected = message.removeprefix(opening)
            return f"a number {expected}" if expected.startswith(("greater", "less")) else expected
    return message[:1].lower() + message[1:]


def _choice(value: object, choices: list[str]) -> str:
    return f"one of {', '.join(choices)}{_close(value, choices)}"


def _close(value: object, choices: Iterable[str]) -> str:
    if not isinstance(value, str):
        return ""
    exact = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(value.lower(), exact, n=1)
    return f"; did you mean {exact[close[0]]}?" if close else ""
