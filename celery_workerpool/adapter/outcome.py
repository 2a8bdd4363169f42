"""Turns what the engine knows of a task's end into the exceptions Celery expects.

Only Celery's own control exceptions are rebuilt as what they are. Everything else becomes a
stand-in that looks like the task's exception (name, module, arguments, ``repr``) and is none:
Celery's request would take a WorkerLostError that a task re-raises for the loss of its own
child, and a MemoryError for a reason to end the whole worker.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from billiard.einfo import ExceptionInfo, RemoteTraceback
from billiard.exceptions import Terminated, WorkerLostError
from celery.exceptions import Ignore, Reject, Retry

from ..errors import MemoryLimitExceeded
from ..types import Loss, LossCause, RemoteFailure


class RemoteError(Exception):
    """Stands for an exception that a task raised in a child."""

    _repr = ""

    def __repr__(self) -> str:
        return self._repr


def exception_info(failure: RemoteFailure) -> ExceptionInfo:
    """What :class:`celery.worker.request.Request` is given for a failure in a child."""
    return _info(_rebuild(failure), failure.traceback, failure.internal)


def loss_info(loss: Loss, signum: int | None, task: str) -> ExceptionInfo:
    """The same for a child that is gone.

    Arguments:
        signum: the signal that the task was terminated with, if it was.
        task: its name and id. Celery logs this error without saying which task it is about.
    """
    if loss.cause is LossCause.TERMINATED:
        return error_info(Terminated(signum or 0))
    kind = MemoryLimitExceeded if loss.cause is LossCause.MEMORY else WorkerLostError
    text = f"{loss} Task: {task}."
    return error_info(kind(f"{text}\n{loss.evidence}" if loss.evidence else text))


def error_info(exc: Exception) -> ExceptionInfo:
    """The same for an error of the pool's own."""
    return _info(exc, f"{type(exc).__module__}.{type(exc).__qualname__}: {exc}\n")


def _info(exc: BaseException, traceback: str, internal: bool = False) -> ExceptionInfo:
    info = ExceptionInfo.__new__(ExceptionInfo)  # Its __init__ wants a live traceback.
    info.type = type(exc)
    info.exception = exc
    info.tb = None
    info.traceback = traceback
    info.internal = internal
    return info


def _rebuild(failure: RemoteFailure) -> Any:
    match failure.control:
        case "retry":
            return Retry(failure.args[0] if failure.args else None, exc=_named(failure.detail))
        case "reject":
            return Reject(failure.args[0] if failure.args else None, requeue=failure.detail)
        case "ignore":
            return Ignore(*failure.args)
        case "exit":
            return SystemExit(failure.detail)
        case "interrupt":
            return KeyboardInterrupt()
    return _stand_in(failure)


def _named(text: object) -> RemoteError:
    exc = RemoteError()
    exc._repr = str(text)
    return exc


def _stand_in(failure: RemoteFailure) -> RemoteError:
    exc = _stand_in_class(failure.module, failure.name)(*failure.args)
    exc._repr = failure.repr
    exc.__cause__ = RemoteTraceback(f'\n"""\n{failure.traceback}"""')
    return exc


@lru_cache(maxsize=256)
def _stand_in_class(module: str, name: str) -> type[RemoteError]:
    attributes: dict[str, Any] = {"__module__": module, "__qualname__": name}
    return type(name.rpartition(".")[2], (RemoteError,), attributes)
