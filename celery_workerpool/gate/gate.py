"""The gate of one worker: where messages of tasks that wait are turned away, and let in again.

    message ─▶ Guard ─▶ Gate.admit ─▶ Courier ─▶ store
                 ▲                       │
                 └── run, or acknowledge ┘        (on the worker's loop again)

Everything here runs in the worker's main thread, except where it says otherwise.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from celery import signals
from celery.app.task import Context
from celery.worker import state as worker_state

from ..errors import InvalidTaskError, NoDependencyStore
from ..events import PoolEvent, TaskBlocked, TaskReleased
from ..policy.graph import HEADER, Dependencies, plain
from ..settings import Settings
from .courier import Answers, Arrival, Courier
from .holders import Workers
from .inquiry import in_thread
from .keeper import Keeper
from .opening import open_store
from .parcel import CAUSE, PUBLICATION, Parcel
from .publisher import Publisher
from .records import TOLD, Answer, Counts, Ending, EndKind, Parking, Release, Verdict
from .refusals import cause_to_plain, error_of, prepare, reason_of
from .results import Results, short
from .store import Store

logger = logging.getLogger(__name__)

#: Messages that may be on their way into the store without taking up the worker's prefetch, and
#: those that may wait for a store that is away.
AT_ONCE, HELD = 50, 1000
#: What stores can count to.
MOST_REPLACED = 2**31 - 1


@dataclass(slots=True, eq=False)
class _Held:
    """A message that waits for an answer.

    Attributes:
        run: have the worker take it in.
        connection: which one it came with; counts from 1.
        extra: one more message than otherwise was fetched, since this one takes long.
    """

    message: Any
    run: Callable[[], object]
    connection: int
    waits_for: tuple[str, ...]
    extra: bool = False


class Gate:
    """Lets messages in when the time has come, and tells the store of tasks that have ended.

    Without a store it lets everything in, and :meth:`check` refuses what would have to wait.

    Arguments:
        send: sends an event of the pool.

    Raises:
        SettingsError: ``workerpool_gate_store`` is set and cannot be used.
    """

    def __init__(self, app: Any, settings: Settings, send: Callable[[PoolEvent], None]) -> None:
        self._app = app
        self._settings = settings
        self._send = send
        self._store = open_store(app, settings)
        self._shared_results = False
        self._hostname = ""
        self._courier: Courier | None = None
        self._consumer: Any = None
        self._connection = 0
        self._pid = os.getpid()
        self._extra = 0
        self._held: dict[_Held, None] = {}  # in the order they came

    # ── life ─────────────────────────────────────────────────────────────────────────────

    def connected(self, consumer: Any) -> None:
        """There is a connection to the broker."""
        self._consumer = consumer
        self._connection += 1
        self._extra = 0
        self._held.clear()
        if self._store is None:
            if self._connection == 1:
                logger.info("Tasks with dependencies fail here: workerpool_gate_store is not set")
        elif self._courier is None:
            self._hostname = consumer.hostname
            self._shared_results = Results(self._app).shared
            self._courier = Courier(
                partial(self._make_keeper, self._store),
                self._answered,
                self._withdrawn,
                self._settings.gate_sweep_interval,
                self._is_wanted,
            )
            signals.task_failure.connect(self._on_failure)
            signals.task_revoked.connect(self._on_revoked)

    def disconnected(self) -> None:
        """The connection is lost, or the worker stops: nothing is let in any more."""
        self._consumer = None

    def close(self, timeout: float) -> None:
        """Report the last ends, if that is possible within so many seconds."""
        signals.task_failure.disconnect(self._on_failure)
        signals.task_revoked.disconnect(self._on_revoked)
        courier, self._courier = self._courier, None
        if courier is not None:
            courier.close(timeout)

    def _make_keeper(self, store: Store) -> Keeper:
        """In the courier's thread, whose result backend is its own."""
        workers = Workers(self._app, self._hostname)
        return Keeper(store, Results(self._app), Publisher(self._app), workers, ask=in_thread)

    @property
    def counts(self) -> Counts:
        """What waits, in all workers of this broker; some seconds old."""
        return Counts() if self._courier is None else self._courier.counts

    @property
    def published(self) -> int:
        """Tasks that this worker has released."""
        return 0 if self._courier is None else self._courier.published

    # ── messages ─────────────────────────────────────────────────────────────────────────

    def concerns(self, headers: dict[str, Any]) -> bool:
        """Whether a message has to be admitted before it is run."""
        if HEADER not in headers and PUBLICATION not in headers:
            return False
        if self._courier is None or headers["id"] in worker_state.revoked:
            return False
        if PUBLICATION in headers:
            return True
        if headers.get("retries"):
            return False  # It has run before.
        try:
            return bool(_dependencies(headers).ids)
        except InvalidTaskError:
            return False  # It fails when it is run.

    def admit(self, message: Any, run: Callable[[], object]) -> None:
        """Have the store decide: ``run`` is called, or the message acknowledged, later."""
        courier, headers = self._courier, message.headers
        if courier is None:
            run()
            return
        if self._consumer is None:  # The worker stops, and the broker goes on for a moment.
            self._held[_Held(message, run, self._connection, ())] = None
            return
        publication = headers.get(PUBLICATION)
        order: Parking | tuple[str, str]
        waits_for: tuple[str, ...] = ()
        if publication is not None:
            order = (headers["id"], str(publication))
        else:
            order = self._parking(message)
            waits_for = order.dependencies
        held = _Held(message, run, self._connection, waits_for)
        # Those that are let in are to run here, and other workers want them as well.
        most = HELD if courier.in_trouble else AT_ONCE if waits_for else 0
        if self._extra < most:
            self._consumer.qos.increment_eventually()
            self._extra += 1
            held.extra = True
        self._held[held] = None
        courier.arrive(Arrival(order, held))

    def held(self) -> list[Any]:
        """Messages of this connection that wait for an answer, or came after the stop."""
        return [held.message for held in self._held]

    def check(self, headers: dict[str, Any]) -> None:
        """Whether a message that is about to be run may be.

        Raises:
            InvalidTaskError: its headers cannot be understood, or it waits for itself.
            DependencyFailedError: a task that it waited for did not succeed.
            NoDependencyStore: it would have to wait.
        """
        if CAUSE in headers:
            raise error_of(headers[CAUSE])
        if HEADER not in headers or PUBLICATION in headers or headers.get("retries"):
            return
        if _dependencies(headers).ids and self._store is None:
            raise NoDependencyStore

    def _parking(self, message: Any) -> Parking:
        headers = message.headers
        dependencies = _dependencies(headers)
        timeout = dependencies.timeout or self._settings.dependency_timeout
        return Parking(
            id=headers["id"],
            dependencies=dependencies.ids,
            on_failure=dependencies.on_failure,
            parcel=Parcel.of_message(message).to_bytes(),
            deadline=time.time() + timeout,
            expires=_moment(headers.get("expires")),
            replaced=_nesting(headers.get("replaced_task_nesting")),
            name=_name(headers),
            anew=_is_new(message),
        )

    def _is_wanted(self, arrival: Arrival) -> bool:
        """Whether the message has not gone back to the broker since. For any thread."""
        held: _Held = arrival.ticket
        return self._consumer is not None and held.connection == self._connection

    def _answered(self, answers: Answers) -> None:
        """In the courier's thread."""
        consumer = self._consumer
        if consumer is not None:
            consumer.call_soon(self._settle, answers)

    def _settle(self, answers: Answers) -> None:
        consumer = self._consumer
        kept: list[tuple[_Held, Verdict]] = []
        for arrival, verdict in answers:
            held: _Held = arrival.ticket
            self._held.pop(held, None)
            if not self._is_wanted(arrival):
                continue  # The broker delivers it again.
            if held.extra:
                self._extra -= 1
                consumer.qos.decrement_eventually()
            if verdict.answer in (Answer.READY, Answer.REFUSED):
                self._let_in(held, verdict)
            else:
                kept.append((held, verdict))
        for held, verdict in kept:
            held.message.ack_log_error(logger, consumer.connection_errors)
            self._announce_kept(held.message, verdict)

    def _announce_kept(self, message: Any, verdict: Verdict) -> None:
        task_id = message.headers["id"]
        if verdict.answer is Answer.DUPLICATE:
            again = PUBLICATION in message.headers or not _is_new(message)
            level = logging.INFO if again else logging.WARNING
            logger.log(level, "Another copy of task %s has come and is dropped", task_id)
        elif self._wanted:
            self._send(TaskBlocked(task_id, list(verdict.open[:TOLD]), len(verdict.open)))

    def _let_in(self, held: _Held, verdict: Verdict) -> None:
        headers = held.message.headers
        if verdict.cause is not None:
            headers[CAUSE] = cause_to_plain(verdict.cause)
        if CAUSE in headers:
            if (why := prepare(headers)) is not None:
                logger.info("Task %s[%s] is not run: %s", _name(headers), headers["id"], why)
        elif PUBLICATION in headers and self._wanted:
            self._send(TaskReleased(headers["id"]))
        held.run()

    @property
    def _wanted(self) -> bool:
        """Whether anybody asked for events of tasks."""
        dispatcher = self._consumer.event_dispatcher
        if dispatcher is None or not dispatcher.enabled:
            return False
        return not dispatcher.groups or "task" in dispatcher.groups

    # ── ends ─────────────────────────────────────────────────────────────────────────────

    def ended(
        self,
        task_id: str,
        kind: EndKind,
        error: str = "",
        *,
        urgent: bool = True,
        ignored: bool = False,
    ) -> None:
        """A task has ended, and its result, if there is one, is stored. For any thread.

        Arguments:
            urgent: others probably wait for it.
            ignored: its result is not stored.
        """
        courier = self._courier
        if courier is not None:
            keep = ignored or not self._shared_results
            courier.ended(Ending(task_id, kind, error and short(error), keep), urgent=urgent)

    def revoke(self, ids: list[str]) -> None:
        """Somebody has revoked these tasks; those that wait end now."""
        if self._courier is not None:
            self._courier.revoke(ids)

    def _on_failure(self, task_id: str, exception: Exception, **_: object) -> None:
        """A signal of Celery's; in this process it tells of all failures but a task's own."""
        if os.getpid() == self._pid:
            self.ended(task_id, EndKind.FAILED, reason_of(exception), ignored=True)

    def _on_revoked(self, sender: Any, request: Any, expired: bool, **_: object) -> None:
        if os.getpid() == self._pid:
            ignored = bool(request.ignore_result or getattr(sender, "ignore_result", False))
            reason = "expired" if expired else "revoked"
            self.ended(request.id, EndKind.CANCELLED, reason, ignored=ignored)

    def _withdrawn(self, release: Release) -> None:
        """In the courier's thread: store the end of a task that was revoked while it waited."""
        parcel = Parcel.of_bytes(release.parcel)
        headers = parcel.headers
        to = {name: parcel.properties.get(name) for name in ("reply_to", "correlation_id")}
        request = Context(headers, id=release.id, chord=parcel.chord(), **to)
        self._app.backend.mark_as_revoked(release.id, "revoked", request=request)
        logger.info("Discarding revoked task: %s[%s]", _name(headers), release.id)
        self.ended(release.id, EndKind.CANCELLED, "revoked")
        consumer = self._consumer
        if consumer is not None:
            consumer.call_soon(self._announce, headers, request)

    def _announce(self, headers: dict[str, Any], request: Any) -> None:
        consumer = self._consumer
        if consumer is None:
            return
        fields = {"terminated": False, "signum": None, "expired": False}
        if consumer.event_dispatcher:
            consumer.event_dispatcher.send("task-revoked", uuid=request.id, **fields)
        task = self._app.tasks.get(headers.get("task"))
        signals.task_revoked.send(sender=task, request=request, **fields)


def _dependencies(headers: dict[str, Any]) -> Dependencies:
    return Dependencies.of_headers(headers["id"], headers)


def _name(headers: dict[str, Any]) -> str:
    """As workers show it in their logs."""
    shadow = headers.get("shadow")
    return plain(shadow if shadow and isinstance(shadow, str) else str(headers.get("task")))


def _is_new(message: Any) -> bool:
    """Whether the broker delivers it for the first time, as far as it says so."""
    return not message.delivery_info.get("redelivered")


def _moment(value: object) -> float | None:
    """A header ``expires`` in seconds since the epoch; None where it cannot be understood."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def _nesting(value: object) -> int:
    """What Celery counts where a task replaces itself; 0 where it cannot be understood."""
    return min(value, MOST_REPLACED) if isinstance(value, int) and value > 0 else 0
