"""From the arguments of ``submit_task`` to a message on the broker."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from celery.exceptions import QueueNotFound
from kombu import serialization
from kombu.exceptions import EncodeError

from .. import handlers
from .. import tasks as run_task
from ..errors import InvalidTaskError, SettingsError
from ..policy import priority as priorities
from ..settings import Settings
from ..tasks import HEADER, TASK, Order
from ..types import TaskPriority, WorkerTaskType
from . import batch as batches
from .records import Task
from .settings import ManagerSettings

#: Seconds that a task may take to clean up when its time limit has come, before its child is
#: killed.
GRACE = 1.0
#: Bytes of metadata, as JSON.
MAX_METADATA = 65536


@dataclass(frozen=True, slots=True)
class Submission:
    """Everything about a task that is to be sent, checked. Durations in seconds."""

    type: WorkerTaskType
    payload: Any
    priority: TaskPriority
    timeout: float
    order: Order
    task_id: str
    queue: str | None = None
    countdown: float | None = None
    eta: datetime | None = None
    expires: float | datetime | None = None

    @property
    def kind(self) -> object:
        """The same for tasks whose messages differ in id and payload only."""
        options = (self.priority, self.timeout, self.queue, self.countdown, self.eta, self.expires)
        return (self.type, id(self.order), *options)

    @property
    def expires_at(self) -> float | None:
        """Seconds since the epoch after which it is not to start."""
        if isinstance(self.expires, datetime):
            return self.expires.timestamp()
        submitted_at = self.order.submitted_at
        if self.expires is None or submitted_at is None:
            return None
        return submitted_at + self.expires

    def record(self) -> Task:
        return Task(
            id=self.task_id,
            type=self.type.value,
            priority=self.priority,
            submitted_at=self.order.submitted_at,
            metadata=self.order.metadata,
            tags=self.order.tags,
        )


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What ``submit_task`` takes beside the type and the payload."""

    priority: TaskPriority | str = TaskPriority.NORMAL
    timeout: float | None = None
    max_retries: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    task_id: str | None = None
    queue: str | None = None
    countdown: float | None = None
    eta: datetime | None = None
    expires: float | datetime | None = None
    tags: Iterable[str] = ()

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> TaskOptions:
        """From keyword arguments.

        Raises:
            InvalidTaskError: there is no such option.
        """
        known = [item.name for item in fields(cls)]
        for name, value in options.items():
            if name not in known:
                raise InvalidTaskError(name, value, f"an option: {', '.join(known)}")
        return cls(**options)


class Sender:
    """Checks tasks and sends them. Thread-safe.

    Where files may be, and which functions CUSTOM tasks may name, is what the app's
    ``workerpool_*`` settings say.

    Arguments:
        local: the workers are started here, so what they need must be installed here.

    Raises:
        SettingsError: the app does not include :mod:`celery_workerpool.tasks`.
    """

    def __init__(self, app: Any, settings: ManagerSettings, *, local: bool) -> None:
        included = (*app.conf.include, *app.conf.imports)
        if run_task.__name__ not in included:
            expected = f"{run_task.__name__!r} among them, or the workers know no task types"
            raise SettingsError("include", included, expected)
        self._app = app
        self._settings = settings
        self._local = local
        transport = app.connection_for_write().get_transport_cls()
        self._low_first = transport.driver_type == "redis"
        self._longest = _visibility_timeout(app) if self._low_first else None
        pool = Settings.of_app(app)
        self._files = handlers.Files.within(pool.file_roots)
        self._modules = pool.custom_modules
        handlers.load(pool.handler_modules)

    def prepare(self, task_type: object, payload: object, options: TaskOptions) -> Submission:
        """Check everything that can be checked before a task is sent.

        Raises:
            InvalidTaskError: names the option or field, what came and what is expected.
        """
        (submission,) = self.prepare_many([(task_type, payload)], options)
        return submission

    def prepare_many(
        self, tasks: Iterable[tuple[object, object]], options: TaskOptions
    ) -> list[Submission]:
        """The same for many ``(type, payload)`` with the same options."""
        common = self._check(options)
        made = []
        for task_type, payload in tasks:
            kind = handlers.task_type(task_type)
            handlers.validate(
                kind, payload, files=self._files, modules=self._modules, libraries=self._local
            )
            task_id = options.task_id or str(uuid.uuid4())
            made.append(Submission(type=kind, payload=payload, task_id=task_id, **common))
        return made

    def _check(self, options: TaskOptions) -> dict[str, Any]:
        """The fields of a submission that follow from the options."""
        settings = self._settings
        _text("task_id", options.task_id)
        timeout = _seconds("timeout", options.timeout, above=0.0) or settings.task_timeout
        if self._longest is not None and timeout + GRACE >= self._longest:
            expected = f"less than the visibility_timeout of the broker ({self._longest:g} s)"
            raise InvalidTaskError("timeout", timeout, f"{expected}, or it would be run twice")
        if options.countdown is not None and options.eta is not None:
            raise InvalidTaskError("eta", options.eta, "none, as there is a countdown")
        order = Order(
            max_retries=_count("max_retries", options.max_retries, settings.max_retries),
            retry_delay=settings.retry_delay,
            retry_max_delay=settings.retry_max_delay,
            metadata=_metadata(options.metadata),
            tags=_texts("tags", options.tags),
            submitted_at=time.time(),
        )
        return {
            "priority": _priority(options.priority),
            "timeout": timeout,
            "order": order,
            "queue": _text("queue", options.queue),
            "countdown": _seconds("countdown", options.countdown),
            "eta": _moment("eta", options.eta),
            "expires": _expiry(options.expires),
        }

    def check_encoding(self, submission: Submission) -> None:
        """What :meth:`send` finds out by itself, for when nothing may be sent before.

        Raises:
            InvalidTaskError: the payload cannot be serialised.
        """
        try:
            serialization.dumps(  # type: ignore[no-untyped-call]
                submission.payload, serializer=self._app.conf.task_serializer
            )
        except EncodeError as exc:
            raise _not_encodable(submission, exc) from None

    def again(self, submission: Submission) -> Submission:
        """The same task under another id, as soon as possible."""
        order = replace(submission.order, submitted_at=time.time())
        task_id = str(uuid.uuid4())
        return replace(submission, order=order, task_id=task_id, countdown=None, eta=None)

    def send(self, submission: Submission, producer: Any = None) -> None:
        """Send one task.

        Raises:
            InvalidTaskError: the payload cannot be serialised.
            kombu.exceptions.OperationalError: the broker cannot be reached.
        """
        number = priorities.number(submission.priority, low_first=self._low_first)
        options = {} if submission.queue is None else {"queue": submission.queue}
        headers = {
            HEADER: submission.order.to_header(),
            priorities.HEADER: submission.priority.name,
            # The workers keep the result. But Celery's client, which is told to ignore it below,
            # does not subscribe to it: on Redis that is a subscription per task, for ever.
            "ignore_result": False,
        }
        if submission.expires_at is not None:
            # Only here: Celery would have RabbitMQ drop the message in time, and nobody would
            # hear that the task has expired.
            moment = datetime.fromtimestamp(submission.expires_at, UTC)
            headers["expires"] = moment.isoformat()
        try:
            self._app.send_task(
                TASK,
                args=(submission.type.value, submission.payload),
                task_id=submission.task_id,
                priority=number,
                headers=headers,
                ignore_result=True,
                soft_time_limit=submission.timeout,
                time_limit=submission.timeout + GRACE,
                countdown=submission.countdown,
                eta=submission.eta,
                shadow=submission.type.value,
                argsrepr=_args_shown(submission),
                producer=producer,
                **options,
            )
        except EncodeError as exc:
            raise _not_encodable(submission, exc) from None
        except QueueNotFound as exc:
            raise InvalidTaskError("queue", submission.queue, f"a queue ({exc})") from None

    @contextlib.contextmanager
    def batch(self, size: int) -> Iterator[Callable[[Submission], None]]:
        """What sends so many tasks. When the block has ended, the broker has them.

        On Redis everything is sent then, in one round trip, and nothing if the block raises.
        """
        with self._app.producer_pool.acquire(block=True) as producer:
            if batches.is_possible(self._app):
                with (
                    producer.connection._reraise_as_library_errors(),
                    batches.publisher(producer, max(1, size)) as publisher,
                ):
                    yield partial(self._send_copy, producer, publisher, {})
            else:
                with producer.batch(max_size=max(1, size)):
                    yield partial(self.send, producer=producer)

    def _send_copy(
        self,
        producer: Any,
        publisher: batches.Publisher,
        templates: dict[object, batches.Template],
        submission: Submission,
    ) -> None:
        template = templates.get(submission.kind)
        if template is None:
            recorder = batches.Recorder(producer.connection)
            self.send(submission, recorder)
            template = templates[submission.kind] = recorder.template()
        args = (submission.type.value, submission.payload)
        try:
            publisher.publish(template, submission.task_id, args, _args_shown(submission))
        except EncodeError as exc:
            raise _not_encodable(submission, exc) from None


def _visibility_timeout(app: Any) -> float:
    """Seconds after which Redis has a task that is not acknowledged run by another worker."""
    default = 3600  # kombu's
    return float((app.conf.broker_transport_options or {}).get("visibility_timeout", default))


def _args_shown(submission: Submission) -> str:
    return f"({submission.type.value!r}, {handlers.summarise(submission.payload)})"


def _not_encodable(submission: Submission, exc: EncodeError) -> InvalidTaskError:
    expected = f"data that can be serialised ({exc})"
    return InvalidTaskError("payload", type(submission.payload).__name__, expected)


def _priority(value: object) -> TaskPriority:
    if isinstance(value, TaskPriority):
        return value
    if isinstance(value, str) and value.upper() in TaskPriority.__members__:
        return TaskPriority[value.upper()]
    expected = f"a TaskPriority: {', '.join(TaskPriority.__members__)}"
    raise InvalidTaskError("priority", value, expected)


def _seconds(option: str, value: object, *, above: float | None = None) -> float | None:
    if value is None:
        return None
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else -1.0
    if 0 <= number <= sys.float_info.max and number != above:
        return float(number)
    bound = "of at least 0" if above is None else f"above {above:g}"
    raise InvalidTaskError(option, value, f"seconds, as a number {bound}")


def _moment(option: str, value: object) -> datetime | None:
    if value is not None and not isinstance(value, datetime):
        raise InvalidTaskError(option, value, "a datetime")
    if value is not None and value.tzinfo is None:
        raise InvalidTaskError(option, value, "a datetime with a time zone")
    return value


def _expiry(value: object) -> float | datetime | None:
    if not isinstance(value, datetime):
        return _seconds("expires", value, above=0.0)
    moment = _moment("expires", value)
    if moment is not None and moment <= datetime.now(UTC):
        raise InvalidTaskError("expires", value, "a time to come")
    return moment


def _count(option: str, value: object, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidTaskError(option, value, "a whole number of at least 0")
    return value


def _text(option: str, value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidTaskError(option, value, "text that is not empty")
    return value


def _texts(option: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidTaskError(option, value, "a list of text")
    texts = tuple(value)
    if not all(isinstance(text, str) for text in texts):
        raise InvalidTaskError(option, value, "a list of text")
    return texts


def _metadata(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidTaskError("metadata", value, "an object with text for keys")
    # It goes into a header, which brokers encode each in its own way; what is plain is the same
    # in all, and what is small fits into a frame of RabbitMQ's.
    try:
        size = len(json.dumps(value, allow_nan=False)) if value else 0
    except (TypeError, ValueError):
        size = sys.maxsize
    if size > MAX_METADATA:
        expected = f"data that JSON can hold, of at most {MAX_METADATA} bytes"
        raise InvalidTaskError("metadata", value, expected)
    return dict(value)
