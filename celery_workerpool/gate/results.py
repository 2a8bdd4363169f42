"""What the result backend knows of tasks that others wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from celery import states
from celery.backends.base import DisabledBackend
from celery.exceptions import BackendError
from kombu.exceptions import ContentDisallowed, SerializationError

from ..errors import DependencyFailedError
from ..policy.graph import plain
from ..stored import error_text
from .records import Ending, EndKind
from .refusals import reason

#: Ids that one question names.
BATCH = 200
#: Characters of a task's error that those see who wait for it.
LONGEST_ERROR = 1000

#: What a record raises that this process may not read, or cannot.
UNREADABLE = (ContentDisallowed, SerializationError)

_KINDS = {
    states.SUCCESS: EndKind.DONE,
    states.FAILURE: EndKind.FAILED,
    states.REVOKED: EndKind.CANCELLED,
}


class Results:
    """Looks tasks up where their results are. The backend is that of the calling thread."""

    def __init__(self, app: Any) -> None:
        self._app = app
        cls = type(app.backend)
        # By name: none of their modules need be there.
        self._names = {base.__name__ for base in cls.__mro__}
        #: Whether other processes can read there what a child has stored.
        self.shared = not (
            issubclass(cls, DisabledBackend)
            or "RPCBackend" in self._names
            or getattr(app.backend, "backend", None) == "memory"
        )

    def look(self, ids: Iterable[str]) -> list[Ending]:
        """The ends of those tasks that have ended; raises what the backend raises."""
        names = list(ids) if self.shared else []
        return [
            ending
            for start in range(0, len(names), BATCH)
            for ending in self._look(names[start : start + BATCH])
        ]

    def _look(self, names: list[str]) -> Iterator[Ending]:
        backend = self._app.backend
        if "RedisBackend" in self._names:
            found = backend.mget([backend.get_key_for_task(name) for name in names])
            for name, value in zip(names, found, strict=True):
                if value:
                    yield from _ending(name, partial(backend.decode, value))
            return
        statuses = dict.fromkeys(names, "")
        away: tuple[type[Exception], ...] = (Exception,)
        if "DatabaseBackend" in self._names:
            from sqlalchemy.exc import SQLAlchemyError

            statuses = _statuses(backend, names)
            away = (SQLAlchemyError, BackendError, OSError)
        for name, status in statuses.items():
            if status == states.SUCCESS:
                yield Ending(name)  # What it returned is not asked for.
            else:
                meta = partial(backend.get_task_meta, name, cache=False)
                yield from _ending(name, meta, away)


def short(error: str) -> str:
    """What stores keep of a task's error, whatever is in it."""
    return plain(error[:LONGEST_ERROR])


def _ending(
    name: str, read: Callable[[], Any], away: tuple[type[Exception], ...] = ()
) -> Iterator[Ending]:
    """What a task's record says; nothing, where it has not ended.

    Arguments:
        read: gets the record. Of its errors those of ``away`` pass; the others, and those of
            a record that is none, end the task: who waits for it could never read its result.
    """
    try:
        meta = read()
        kind = _KINDS.get(meta.get("status"))
        text = "" if kind is None else _text(kind, meta["result"])
    except Exception as exc:  # Also whatever an object's own code raises where it is rebuilt.
        if isinstance(exc, away) and not isinstance(exc, UNREADABLE):
            raise
        kind, text = EndKind.FAILED, f"its result cannot be read: {exc!r}"
    if kind is not None:
        yield Ending(name, kind, short(text))


def _statuses(backend: Any, names: list[str]) -> dict[str, str]:
    """Of those of the tasks that have ended, by one query."""
    task = backend.task_cls
    session = backend.ResultSession()
    try:
        query = session.query(task.task_id, task.status)
        rows = query.filter(task.task_id.in_(names), task.status.in_(list(_KINDS))).all()
    finally:
        session.close()
    return dict(map(tuple, rows))


def _text(kind: EndKind, result: Any) -> str:
    """What a failed task's result says, as ``repr`` shows exceptions."""
    if kind is EndKind.DONE:
        return ""
    if isinstance(result, DependencyFailedError):
        return reason(str(result))  # As the gate hears of it where it happens.
    if not isinstance(result, Mapping):
        return str(result) if kind is EndKind.CANCELLED else error_text(result)
    message = result.get("exc_message")
    arguments = message if isinstance(message, list | tuple) else [message]
    if kind is EndKind.CANCELLED:
        return ", ".join(map(str, arguments))
    if result.get("exc_type") == DependencyFailedError.__name__ and arguments:
        return reason(str(arguments[0]))
    return f"{result.get('exc_type')}({', '.join(map(repr, arguments))})"
