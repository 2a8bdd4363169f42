"""From the arguments of ``submit_task`` to a message on the broker."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from celery.exceptions import QueueNotFound
from kombu import serialization
from kombu.exceptions import EncodeError

from .. import handlers
from .. import tasks as run_task
from ..errors import InvalidTaskError, NoDependencyStore, SettingsError
from ..gate.opening import open_store
from ..policy import priority as priorities
from ..policy.graph import Dependencies
from ..settings import Settings
from ..stored import TASK
from ..tasks import HEADER, Order
from ..types import TaskPriority, WorkerTaskType
from . import batch as batches
from . import options as checked
from .options import TaskOptions, TaskSpec, in_order
from .records import Task
from .settings import ManagerSettings

#: Seconds that a task may take to clean up when its time limit has come, before its child is
#: killed.
GRACE = 1.0


#: What most tasks wait for.
NOTHING = Dependencies()


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
    waits_for: Dependencies = NOTHING

    @property
    def kind(self) -> object:
        """The same for tasks whose messages differ in id, payload and dependencies only."""
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

    def after(self, ids: Iterable[str]) -> Submission:
        """The same, waiting for these as well.

        Raises:
            InvalidTaskError: it would wait for itself.
        """
        found = self.waits_for
        all_ids = (*found.ids, *ids)
        return replace(
            self,
            waits_for=Dependencies.checked(self.task_id, all_ids, found.on_failure, found.timeout),
        )

    def record(self) -> Task:
        return Task(
            id=self.task_id,
            type=self.type.value,
            priority=self.priority,
            submitted_at=self.order.submitted_at,
            metadata=self.order.metadata,
            tags=self.order.tags,
            dependencies=self.waits_for.ids,
        )


class Sender:
    """Checks tasks and sends them. Thread-safe.

    Where files may be, and which functions CUSTOM tasks may name, is what the app's
    ``workerpool_*`` settings say.

    Arguments:
        local: the workers are started here, so what they need must be installed here.

    Raises:
        SettingsError: the app does not include :mod:`celery_workerpool.tasks`, or its
            ``workerpool_gate_store`` cannot be used.
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
        pool = Settings.of_app(app)
        comes_back = self._low_first and pool.redeliver_after is None
        self._longest = _visibility_timeout(app) if comes_back else None
        self._files = handlers.Files.within(pool.file_roots)
        self._modules = pool.custom_modules
        handlers.load(pool.handler_modules)
        #: Names of the queues that tasks are sent to.
        self.queues = {_queue_of_tasks(app)}
        #: Where tasks wait for others; None: nowhere.
        self.store = open_store(app, pool)

    def prepare(self, task_type: object, payload: object, options: TaskOptions) -> Submission:
        """Check everything that can be checked before a task is sent.

        Raises:
            InvalidTaskError: names the option or field, what came and what is expected.
        """
        return self._fill(task_type, payload, options.task_id, self._check(options))

    def prepare_many(
        self, specs: Iterable[TaskSpec], options: Mapping[str, Any]
    ) -> list[Submission]:
        """The same for many; ``options`` are those of all that do not say otherwise."""
        common = self._check(TaskOptions.of(options))
        return [self._of_spec(spec, options, common, ()) for spec in specs]

    def prepare_graph(
        self, tasks: Mapping[str, TaskSpec], options: Mapping[str, Any]
    ) -> dict[str, Submission]:
        """The same for tasks that wait for each other, by name; each after what it waits for.

        Raises:
            InvalidTaskError: also for a cycle, or a name that is not in the graph.
        """
        order = in_order({name: spec.after for name, spec in tasks.items()})
        common = self._check(TaskOptions.of(options))
        made: dict[str, Submission] = {}
        for name in order:
            after = [made[other].task_id for other in tasks[name].after]
            made[name] = self._of_spec(tasks[name], options, common, after)
        return made

    def _of_spec(
        self,
        spec: TaskSpec,
        options: Mapping[str, Any],
        common: dict[str, Any],
        after: Collection[str],
    ) -> Submission:
        task_id = None
        if spec.options:
            merged = TaskOptions.of({**options, **spec.options})
            common, task_id = self._check(merged), merged.task_id
        return self._fill(spec.type, spec.payload, task_id, common, after)

    def _fill(
        self,
        task_type: object,
        payload: object,
        task_id: str | None,
        common: dict[str, Any],
        after: Collection[str] = (),
    ) -> Submission:
        kind = handlers.task_type(task_type)
        task_id = task_id or str(uuid.uuid4())
        submission = Submission(type=kind, payload=payload, task_id=task_id, **common)
        if after:
            submission = submission.after(after)
            self._storable(submission.waits_for)
        return self._validated(submission)

    def _validated(self, submission: Submission) -> Submission:
        handlers.validate(
            submission.type,
            submission.payload,
            files=self._files,
            modules=self._modules,
            libraries=self._local,
            dependencies=submission.waits_for.ids,
        )
        return submission

    def _check(self, options: TaskOptions) -> dict[str, Any]:
        """The fields of a submission that follow from the options."""
        settings = self._settings
        checked.text("task_id", options.task_id)
        timeout = checked.seconds("timeout", options.timeout, above=0.0) or settings.task_timeout
        if self._longest is not None and timeout + GRACE >= self._longest:
            expected = f"less than the visibility_timeout of the broker ({self._longest:g} s)"
            raise InvalidTaskError("timeout", timeout, f"{expected}, or it would be run twice")
        if options.countdown is not None and options.eta is not None:
            raise InvalidTaskError("eta", options.eta, "none, as there is a countdown")
        order = Order(
            max_retries=checked.count("max_retries", options.max_retries, settings.max_retries),
            retry_delay=settings.retry_delay,
            retry_max_delay=settings.retry_max_delay,
            metadata=checked.metadata(options.metadata),
            tags=checked.texts("tags", options.tags),
            submitted_at=time.time(),
        )
        return {
            "priority": checked.priority(options.priority),
            "timeout": timeout,
            "order": order,
            "queue": checked.text("queue", options.queue),
            "countdown": checked.seconds("countdown", options.countdown),
            "eta": checked.moment("eta", options.eta),
            "expires": checked.expiry(options.expires),
            "waits_for": self._storable(options.waits_for()),
        }

    def _storable(self, waits_for: Dependencies) -> Dependencies:
        if waits_for.ids and self.store is None:
            raise NoDependencyStore
        return waits_for

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

    def queue_length(self, queue: str) -> int | None:
        """Messages that wait in a queue and are with no worker; None where nobody can say."""
        with self._app.connection_for_read() as connection:
            try:
                answer = connection.default_channel.queue_declare(queue, passive=True)
            except connection.channel_errors:  # Redis has no empty lists.
                return None
            return int(answer.message_count)

    def again(self, submission: Submission) -> Submission:
        """The same task under another id, as soon as possible."""
        (made,) = self.graph_again({submission.task_id: submission}).values()
        return made

    def graph_again(self, tasks: Mapping[str, Submission]) -> dict[str, Submission]:
        """The same for tasks by their ids; each waits for the others under their new ids.

        Raises:
            InvalidTaskError: a payload names a task that it does not wait for any more.
        """
        new = {task_id: str(uuid.uuid4()) for task_id in tasks}
        after = {i: tuple(filter(new.__contains__, tasks[i].waits_for.ids)) for i in tasks}
        return {old: self._validated(_again(tasks[old], new)) for old in in_order(after)}

    def close(self) -> None:
        """Give back the connections to the store."""
        if self.store is not None:
            self.store.close()

    def send(self, submission: Submission, producer: Any = None) -> None:
        """Send one task.

        Raises:
            InvalidTaskError: the payload cannot be serialised.
            kombu.exceptions.OperationalError: the broker cannot be reached.
        """
        number = priorities.number(submission.priority, low_first=self._low_first)
        options = {} if submission.queue is None else {"queue": submission.queue}
        self.queues.update(options.values())
        headers = {
            HEADER: submission.order.to_header(),
            priorities.HEADER: submission.priority.name,
            # The workers keep the result. But Celery's client, which is told to ignore it below,
            # does not subscribe to it: on Redis that is a subscription per task, for ever.
            "ignore_result": False,
            **submission.waits_for.to_headers(),
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
            self.send(replace(submission, waits_for=NOTHING), recorder)
            template = templates[submission.kind] = recorder.template()
        args = (submission.type.value, submission.payload)
        varying = {
            **submission.waits_for.to_headers(),
            "id": submission.task_id,
            "argsrepr": _args_shown(submission),
        }
        try:
            publisher.publish(template, args, varying)
        except EncodeError as exc:
            raise _not_encodable(submission, exc) from None


def _queue_of_tasks(app: Any) -> str:
    """The one that tasks go to which do not name any."""
    queue = app.amqp.router.route({}, TASK).get("queue", app.amqp.default_queue)
    return str(getattr(queue, "name", queue))


def _visibility_timeout(app: Any) -> float:
    """Seconds after which Redis has a task that is not acknowledged run by another worker."""
    default = 3600  # kombu's
    return float((app.conf.broker_transport_options or {}).get("visibility_timeout", default))


def _args_shown(submission: Submission) -> str:
    return f"({submission.type.value!r}, {handlers.summarise(submission.payload)})"


def _again(submission: Submission, new: Mapping[str, str]) -> Submission:
    """The same with new ids in the place of old ones, as soon as possible."""
    waits_for = submission.waits_for
    return replace(
        submission,
        task_id=new[submission.task_id],
        order=replace(submission.order, submitted_at=time.time()),
        countdown=None,
        eta=None,
        waits_for=replace(waits_for, ids=tuple(new.get(i, i) for i in waits_for.ids)),
    )


def _not_encodable(submission: Submission, exc: EncodeError) -> InvalidTaskError:
    expected = f"data that can be serialised ({exc})"
    return InvalidTaskError("payload", type(submission.payload).__name__, expected)
