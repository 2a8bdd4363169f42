"""Lets a message that Celery cannot take apart fail alone.

Without it such a message ends the worker's main process, and comes back to the next one; or it
is taken off the queue, and whoever waits for its result waits for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import exceptions, signals
from celery.app.task import Context
from kombu.exceptions import ContentDisallowed, DecodeError

from ..errors import InvalidTaskError
from ..gate.records import EndKind

logger = logging.getLogger(__name__)

#: What broken data in a message raises where Celery takes it apart. Everything else (a lost
#: connection above all) has a meaning for the worker and passes.
DATA_ERRORS = (
    AttributeError,
    ContentDisallowed,
    DecodeError,
    IndexError,
    KeyError,
    LookupError,
    TypeError,
    ValueError,
    exceptions.InvalidTaskError,
)

Strategy = Callable[..., object]


class GuardedStrategies(dict[str, Strategy]):
    """Celery's table of what handles the messages of each task, each entry guarded.

    Celery fills the table when the consumer starts and when modules are reloaded.
    """

    def __init__(self, consumer: Any) -> None:
        super().__init__()
        self._consumer = consumer
        self._unknown = Guard(consumer, self._report_unknown)

    def __setitem__(self, task_name: str, strategy: Strategy) -> None:
        super().__setitem__(task_name, Guard(self._consumer, strategy))

    def __getitem__(self, task_name: object) -> Strategy:
        try:
            return super().__getitem__(task_name)  # type: ignore[index]
        except (KeyError, TypeError):  # A name may be anything, a list too.
            return self._unknown

    def _report_unknown(self, message: Any, body: Any, *_: object) -> None:
        headers = message.headers or {}
        self._consumer.on_unknown_task(body, message, KeyError(headers.get("task")))
        if isinstance(headers.get("id"), str):
            self._consumer.pool.gate.ended(headers["id"], EndKind.FAILED, "NotRegistered")


class Guard:
    """Handles the messages of one task; a broken one fails, is rejected, and costs one log line.

    Arguments:
        strategy: what handles a message that can be understood.
    """

    def __init__(self, consumer: Any, strategy: Strategy) -> None:
        self._consumer = consumer
        self._strategy = strategy

    def __call__(self, message: Any, body: Any, *args: Any) -> object:
        try:
            if body is None:  # Else protocol 1, which has everything in the body.
                check_headers(message.headers)
                check_body(message.payload)
                gate = self._consumer.pool.gate
                if gate.concerns(message.headers):
                    gate.admit(message, partial(self._run, message, body, args))
                    return None
        except DATA_ERRORS as exc:
            self._fail(message, exc)
            return None
        return self._run(message, body, args)

    def _run(self, message: Any, body: Any, args: tuple[Any, ...]) -> object:
        try:
            return self._strategy(message, body, *args)
        except DATA_ERRORS as exc:
            self._fail(message, exc)
            return None

    def _fail(self, message: Any, exc: Exception) -> None:
        """Store the failure for whoever waits for it, and take the message off the queue."""
        consumer = self._consumer
        headers = message.headers or {}
        task_id, name = headers.get("id"), headers.get("task")
        logger.error("Task %s[%s] has a malformed message and fails: %r", name, task_id, exc)
        if isinstance(task_id, str) and task_id:
            request = Context(headers, id=task_id, chord=_chord(message))
            try:
                consumer.app.backend.mark_as_failure(task_id, exc, request=request)
            except Exception:  # The result store is down; the message must go all the same.
                logger.exception("Could not store the failure of task %s", task_id)
            if consumer.event_dispatcher:
                consumer.event_dispatcher.send("task-failed", uuid=task_id, exception=repr(exc))
            consumer.pool.gate.ended(task_id, EndKind.FAILED, repr(exc))
        if not message.acknowledged:
            message.reject_log_error(logger, consumer.connection_errors)
        signals.task_rejected.send(sender=consumer, message=message, exc=exc)


def check_headers(headers: dict[str, Any]) -> None:
    """Refuse what Celery would stumble over only later, outside of any guard.

    Raises:
        InvalidTaskError: names the header, what came and what is expected.
    """
    task_id = headers.get("id")
    if not isinstance(task_id, str) or not task_id:
        raise InvalidTaskError("id", task_id, "the task's id, a text")
    limits = headers.get("timelimit")
    if limits is not None:
        pair = isinstance(limits, list | tuple) and len(limits) == 2
        if not pair or not all(_is_seconds(limit) for limit in limits):
            raise InvalidTaskError("timelimit", limits, "[hard, soft] in seconds, each may be null")
    stamped = headers.get("stamped_headers")
    if stamped is not None and not isinstance(stamped, list | tuple):
        raise InvalidTaskError("stamped_headers", stamped, "a list of header names")


def check_body(body: Any) -> None:
    """The same for the decoded body. What the task makes of its arguments is its own affair.

    Raises:
        InvalidTaskError: names the part, its type and what is expected.
    """
    if isinstance(body, dict) and "args" in body:
        return  # Protocol 1 with a header of protocol 2.
    if not isinstance(body, list | tuple) or len(body) != 3:
        raise InvalidTaskError("body", type(body).__name__, "[args, kwargs, options]")
    args, kwargs, options = body
    _expect("args", args, list | tuple, "a list")
    _expect("kwargs", kwargs, dict, "a dictionary")
    _expect("options", options, dict, "a dictionary")
    for name in ("callbacks", "errbacks", "chain"):
        if options.get(name) is not None:
            _expect(name, options[name], list | tuple, "a list of signatures")
    if options.get("chord") is not None:
        _expect("chord", options["chord"], dict, "a signature")


def _expect(name: str, value: object, kind: Any, expected: str) -> None:
    if not isinstance(value, kind):
        raise InvalidTaskError(name, type(value).__name__, expected)


def _is_seconds(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _chord(message: Any) -> Any:
    """The chord that waits for this task, if the body can say so."""
    try:
        return message.payload[2].get("chord")
    except Exception:  # Whatever is wrong with the body, the task fails without its chord.
        return None
