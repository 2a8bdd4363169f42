"""What runs inside a child: Celery, set up the way prefork does it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import traceback
from collections.abc import Iterator
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery import platforms
from celery.app import trace
from celery.concurrency.prefork import process_destructor, process_initializer
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.serialization import UnpickleableExceptionWrapper
from kombu.utils.encoding import safe_repr

from ..types import RemoteFailure

_ARGS: Any = BaseException.__dict__["args"]
_PLAIN = (str, bytes, int, float, bool, type(None))


class CeleryRuntime:
    """Makes a process a child of a Celery worker.

    Arguments:
        app: the Celery app; pickled where children are spawned.
        hostname: the worker's node name.
        report_memory: have replies say how much memory the child holds.
        heartbeat: seconds between two signs of life; None for none.
    """

    def __init__(
        self, app: Any, hostname: str, *, report_memory: bool, heartbeat: float | None = None
    ) -> None:
        self._app = app
        self._hostname = hostname
        self.report_memory = report_memory
        self.heartbeat = heartbeat

    def before_serving(self) -> None:
        """The name that ``ps`` shows (with ``setproctitle``)."""
        platforms.set_process_title(f"celeryd: {self._hostname}:ForkServer")

    def before_ready(self) -> None:
        """Sends ``worker_process_init``."""
        with _death_signal_as_it_is(), _tracers_when_needed():
            process_initializer(self._app, self._hostname)

    def before_exit(self, exitcode: int) -> None:
        """Sends ``worker_process_shutdown``."""
        process_destructor(os.getpid(), exitcode)

    def plain(self, value: object) -> object:
        """Celery's tracer returns ``(failed, text of the result or ExceptionInfo, seconds)``."""
        match value:
            case (1, ExceptionInfo() as info, runtime):
                return (1, dataclasses.astuple(_of_info(info)), runtime)
        return value

    def describe(self, exc: BaseException) -> RemoteFailure:
        return _of_exception(exc, "".join(traceback.format_exception(exc)))


@contextlib.contextmanager
def _death_signal_as_it_is() -> Iterator[None]:
    """Have Celery not ask that this child dies with its parent: it has done so.

    Celery asks through cffi where that is installed, and compiles a C declaration for it: a third
    of what the start of a child costs.
    """
    asked: Any = platforms.set_pdeathsig
    platforms.set_pdeathsig = _nothing
    try:
        yield
    finally:
        platforms.set_pdeathsig = asked


class LaterTracer:
    """Builds a task's tracer in this process when the task runs for the first time."""

    def __init__(self, build: Any, name: str, task: Any, *args: Any, **options: Any) -> None:
        self._task = task
        self._build = partial(build, name, task, *args, **options)

    def __call__(self, *args: Any, **options: Any) -> Any:
        tracer = self._task.__trace__ = self._build()
        return tracer(*args, **options)


@contextlib.contextmanager
def _tracers_when_needed() -> Iterator[None]:
    """Have Celery not build a tracer for each task of the app while a child starts.

    Most children run a few of an app's tasks only, and building one takes a tenth of a
    millisecond: with hundreds of tasks it would be most of what the start of a child costs.
    """
    build = trace.build_tracer
    trace.build_tracer = partial(LaterTracer, build)
    try:
        yield
    finally:
        trace.build_tracer = build


def _nothing(_name: str) -> None:
    """What has been done already."""


def _of_info(info: ExceptionInfo) -> RemoteFailure:
    exc = info.exception
    if isinstance(exc, ExceptionWithTraceback):
        exc = exc.exc
    return dataclasses.replace(
        _of_exception(exc, str(info.traceback)), internal=bool(info.internal)
    )


def _of_exception(exc: BaseException, text: str) -> RemoteFailure:
    if isinstance(exc, UnpickleableExceptionWrapper):
        return _of_wrapped(exc, text)
    control, detail = _control(exc)
    return RemoteFailure(
        module=str(type(exc).__module__),
        name=str(type(exc).__qualname__),
        # Read past a property of that name, which would be the task's own code.
        args=tuple(_plain(arg) for arg in _ARGS.__get__(exc)),
        repr=_text(exc),
        traceback=text,
        control=control,
        detail=detail,
    )


def _of_wrapped(exc: UnpickleableExceptionWrapper, text: str) -> RemoteFailure:
    """The exception that Celery has wrapped because it cannot be pickled."""
    return RemoteFailure(
        module=str(exc.exc_module),
        name=str(exc.exc_cls_name),
        args=tuple(_plain(arg) for arg in exc.exc_args),
        repr=str(exc.text),
        traceback=text,
    )


def _control(exc: BaseException) -> tuple[str, object]:
    """What the worker has to do about it, beyond telling."""
    match exc:
        case Retry():
            return "retry", _text(exc.exc)
        case Reject():
            return "reject", bool(exc.requeue)
        case Ignore():
            return "ignore", None
        case SystemExit():
            return "exit", _plain(exc.code)
        case KeyboardInterrupt():
            return "interrupt", None
    return "", None


def _text(value: object) -> str:
    return str(safe_repr(value))  # type: ignore[no-untyped-call]  # never raises


def _plain(value: object) -> object:
    # The exact types: an instance of a subclass would be pickled as an object.
    return value if type(value) in _PLAIN else _text(value)
