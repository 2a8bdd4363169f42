"""The one Celery task behind every task type: finds the handler, runs it, has it tried again.

An app lets its workers run task types by ``include = ["celery_workerpool.tasks"]``. Not by the
pool alone: whoever can send messages could have files read that no task of the app reads; see
``workerpool_file_roots`` and ``workerpool_custom_modules``.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Task, shared_task, states
from celery.exceptions import Ignore, Retry

from . import handlers
from .errors import InvalidTaskError, SettingsError, TaskCancelled, TaskDataError
from .policy import graph
from .policy.retry import RetryPolicy
from .process.reporting import report_progress
from .settings import Settings
from .stored import TASK, SuccessfulResults

logger = logging.getLogger(__name__)

#: Seconds between two looks whether a running task has been cancelled.
LOOK_EVERY = 1.0
#: The header that carries :class:`Order`.
HEADER = "workerpool"

#: What another try would not change.
PERMANENT = (
    *(InvalidTaskError, SettingsError, TaskDataError, TaskCancelled),
    SoftTimeLimitExceeded,
)


@dataclass(frozen=True, slots=True)
class Order:
    """What goes along with a task beside its type and payload. Delays in seconds."""

    max_retries: int = 3
    retry_delay: float = 1.0
    retry_max_delay: float = 600.0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    submitted_at: float | None = None  # seconds since the epoch

    def to_header(self) -> dict[str, Any]:
        return {
            "max_retries": self.max_retries,
            "retry_delay": self.retry_delay,
            "retry_max_delay": self.retry_max_delay,
            "metadata": self.metadata,
            "tags": list(self.tags),
            "submitted_at": self.submitted_at,
        }

    @classmethod
    def from_header(cls, header: object) -> Order:
        """Of a message; what another version of this package added is passed over.

        Raises:
            InvalidTaskError: the header is not an object, or one of its fields is not what it
                should be.
        """
        if header is None:
            return cls()
        if not isinstance(header, Mapping):
            raise InvalidTaskError(HEADER, header, "an object")
        given = {item.name: header[item.name] for item in fields(cls) if item.name in header}
        for name, value in given.items():
            kind, expected = _FIELDS[name]
            if not isinstance(value, kind) or isinstance(value, bool):
                raise InvalidTaskError(f"{HEADER}.{name}", value, expected)
        return cls(**given)

    @property
    def retries(self) -> RetryPolicy:
        return RetryPolicy(self.max_retries, self.retry_delay, self.retry_max_delay)


#: What the fields of an :class:`Order` are in a message.
_FIELDS: dict[str, tuple[Any, str]] = {
    "max_retries": (int, "a whole number"),
    "retry_delay": (int | float, "a number"),
    "retry_max_delay": (int | float, "a number"),
    "metadata": (Mapping, "an object"),
    "tags": (list | tuple, "a list of text"),
    "submitted_at": (int | float | None, "a number"),
}


def cancellation(task_id: str) -> str:
    """Under this id the state REVOKED is stored for a task that is to run no more.

    Workers that hear of a revocation remember it while they live; this one is for those that
    come later.
    """
    return f"{task_id}.cancelled"


class Runner(Task):  # type: ignore[misc]
    """Sends a retry after its state is stored, and not before as ``Task.retry`` does.

    Another worker may end the next try before this one has stored RETRY, which would then take
    the place of the result.
    """

    @cached_property
    def settings(self) -> Settings:
        """The app's, as they are when its first task runs: to check them takes half a millisecond.

        Raises:
            SettingsError: they are not what they should be.
        """
        return Settings.of_app(self.app)

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        try:
            einfo.exception.exc.sig.apply_async()
        except Exception as error:  # There will be no other try: that is the end, then.
            self.backend.mark_as_failure(task_id, error, einfo.traceback, request=self.request)
            raise


@shared_task(
    name=TASK,
    base=Runner,
    bind=True,
    max_retries=None,
    ignore_result=False,
    acks_late=True,  # A worker that is killed takes no task along: another one runs it.
)
def run(self: Any, task_type: str, payload: Any) -> Any:
    """Run a task of one of the types in :class:`~celery_workerpool.types.WorkerTaskType`."""
    _stop_if_cancelled(self)
    order = Order.from_header(self.request.get(HEADER))
    settings = self.settings
    handlers.load(settings.handler_modules)
    context = handlers.TaskContext(
        task_id=self.request.id or "",
        attempt=self.request.retries + 1,
        metadata=order.metadata,
        dependency_results=_dependency_results(self),
        files=handlers.Files.within(settings.file_roots),
        modules=settings.custom_modules,
        report=report_progress,
        is_cancelled=Cancellation(self).seen,
    )
    _note("starts", self, task_type, context)
    try:
        result = handlers.run(handlers.task_type(task_type), payload, context)
        _note("has ended", self, task_type, context)
        return result
    except TaskCancelled:
        _stop_if_cancelled(self)
        raise
    except PERMANENT:
        raise
    except Exception as exc:
        decision = order.retries.decide(self.request.retries, random)
        what = f"in {decision.wait:.1f} s again" if decision.again else "not again"
        _note(f"has failed, {what}: {exc!r}", self, task_type, context)
        if not decision.again:
            raise
        again = self.signature_from_request(
            countdown=decision.wait, retries=self.request.retries + 1
        )
        _leave_expiry_to_workers(again)
        raise Retry(exc=exc, when=decision.wait, sig=again) from exc


def _note(what: str, task: Any, task_type: str, context: handlers.TaskContext) -> None:
    """Log it for debugging; the record has the fields of those that a manager writes."""
    if logger.isEnabledFor(logging.DEBUG):
        fields = {
            "task_id": context.task_id,
            "task_type": task_type,
            "attempt": context.attempt,
            "worker_id": task.request.hostname,
        }
        text = f"{task_type}[{context.task_id}] attempt {context.attempt} {what}"
        logger.debug("%s", text, extra=fields)


def _dependency_results(task: Any) -> SuccessfulResults:
    waited_for = graph.Dependencies.of_headers(
        task.request.id or "",
        {name: task.request.get(name) for name in (graph.HEADER, graph.ON_FAILURE_HEADER)},
    )
    return SuccessfulResults(task.backend, waited_for.ids)


def _leave_expiry_to_workers(signature: Any) -> None:
    """Celery would have RabbitMQ drop the message in time, and nobody would hear of it."""
    expires = signature.options.pop("expires", None)
    if expires is not None:
        moment = expires if isinstance(expires, str) else expires.isoformat()
        signature.options["headers"] = {**(signature.options["headers"] or {}), "expires": moment}


class Cancellation:
    """Whether a running task has been cancelled, for handlers that ask.

    Most are ended by a signal before they do. But a worker hears nothing where remote control is
    off, or while its connection is lost, and a task can survive the signal.
    """

    def __init__(self, task: Any) -> None:
        self._task = task
        self._seen = False
        self._next_look = time.monotonic() + LOOK_EVERY

    def seen(self) -> bool:
        """Looked up once a second at most."""
        if not self._seen and (now := time.monotonic()) >= self._next_look:
            self._next_look = now + LOOK_EVERY
            try:
                self._seen = _is_cancelled(self._task)
            except Exception as exc:  # Backends break in many ways; the task goes on.
                logger.debug("cannot look up whether the task is cancelled: %r", exc)
        return self._seen


def _is_cancelled(task: Any) -> bool:
    key = cancellation(task.request.id or "")
    return bool(task.backend.get_task_meta(key, cache=False)["status"] == states.REVOKED)


def _stop_if_cancelled(task: Any) -> None:
    if _is_cancelled(task):
        task.backend.mark_as_revoked(task.request.id, "cancelled", request=task.request)
        raise Ignore
