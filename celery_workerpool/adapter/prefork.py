"""The worker pool that Celery sees: ``worker_pool = "celery_workerpool:WorkerPool"``.

The module has prefork's name because two of Celery's checks go by it (Django's handling of
inherited database pools, log forwarding in the test worker), and the class is prefork's
subclass because a third goes by that (``--concurrency auto`` honours the cgroup's CPU quota).
Nothing of prefork's machinery runs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from math import inf
from typing import Any

from billiard.common import TERM_SIGNAL
from celery import signals
from celery.concurrency.prefork import TaskPool
from celery.utils.nodenames import gethostname
from celery.worker import state as worker_state

from .. import __version__
from ..engine.drivers import HubDriver, PollDriver, ThreadDriver
from ..engine.engine import Engine
from ..engine.jobs import Job, tell
from ..errors import SettingsError, WorkerPoolError
from ..events import PoolEvent, TaskQuarantined, WorkerExited
from ..gate.gate import Gate
from ..metrics import Ledger
from ..policy import priority
from ..process.launcher import Launcher
from ..settings import Settings
from ..types import Limits, TaskPriority
from . import control  # noqa: F401  # makes its commands known to the worker
from .acknowledging import Acknowledgements
from .bootsteps import PoolStep
from .deadline import Deadline
from .eventsender import EventSender
from .handle import TaskHandle, bare_call, seconds
from .info import (
    describe_gate,
    describe_machine,
    describe_options,
    describe_pool,
    describe_scaling,
    describe_status,
)
from .options import engine_options, number_of_children, start_probes
from .probes import Probes
from .pulse import INTERVAL, Pulse
from .quarantine import Quarantine
from .refusal import ConfigurationRefused
from .returning import give_back_all
from .runtime import CeleryRuntime
from .scaling import ScalingStep
from .sharing import SharingStep
from .shutdown import HardShutdown, ShutdownWatch
from .waiting import WaitingStep

logger = logging.getLogger(__name__)


#: Seconds that a worker which stops may take to tell the gate of the last tasks that have ended.
CLOSING = 3.0


class WorkerPool(TaskPool):  # type: ignore[misc]  # Celery has no types
    """A pool of processes with priorities, exact limits and instant crash detection.

    Takes the same options as Celery's prefork pool. The engine does the work; this class
    translates, and moves the engine between the worker's event loop and its own.
    """

    #: The backlog waits in the engine's heap, not in Celery's semaphore.
    uses_semaphore = False

    def __init__(self, limit: int | None = None, *, app: Any = None, **options: Any) -> None:
        super().__init__(limit, app=app, **options)
        self.events = EventSender()
        self.acknowledgements = Acknowledgements(self._count_waiting)
        try:
            self.settings = Settings.of_app(app)
            self.gate = Gate(app, self.settings, self.events.send)
        except SettingsError as exc:
            raise ConfigurationRefused(exc) from None
        app.steps["consumer"].update([PoolStep, ScalingStep, SharingStep, WaitingStep])
        transport = app.connection_for_read().get_transport_cls()
        self._low_first = transport.driver_type == "redis"
        self._default_limits = Limits(
            soft=seconds("soft time limit", options.get("soft_timeout")),
            hard=seconds("time limit", options.get("timeout")),
        )
        self._engine: Engine | None = None
        self._unstarted: list[Job] = []  # dropped when the worker began to stop
        self._hub: Any = None  # the worker's event loop, while there is a connection
        self.ledger = Ledger()
        self._bounds: tuple[int, int] | None = None  # of its size, where that follows the load
        self._on_event: Callable[[PoolEvent], None] = lambda _event: None
        self._hard = HardShutdown()
        self.pulse = Pulse()
        self._deadline = Deadline(self.settings.shutdown_timeout, self.pulse)
        self._probes: Probes | None = None
        self.quarantine = Quarantine(app, self.settings.max_crashes_per_task, self._observe)

    # ── life ─────────────────────────────────────────────────────────────────────────────

    def on_start(self) -> None:
        spawn = not self.forking_enable
        options = engine_options(
            self.app.conf,
            self.settings,
            self.options,
            spawn=spawn,
            bounds=self._bounds,
            before_launch=self._announce_child,
            observe=self._observe,
        )
        report_memory = options.memory.recycle is not None
        runtime = CeleryRuntime(
            self.app,
            self._hostname,
            report_memory=report_memory,
            heartbeat=self.settings.heartbeat_interval,
        )
        launcher = Launcher(runtime, spawn=spawn)  # Before the pool opens descriptors of its own.
        # On a transport with an event loop, that one takes over with the first connection.
        driver = ThreadDriver() if self.options.get("threads", True) else PollDriver()
        self._engine = Engine(launcher, options, driver)
        self._engine.resize(self.limit)
        self.ledger.begin(time.monotonic())
        # Celery's banner shows the last part of this module's name: "prefork".
        how = "spawn" if spawn else "fork"
        children = "1 child" if self.limit == 1 else f"{self.limit} children"
        logger.info("celery_workerpool %s: starting %s (%s)", __version__, children, how)
        self._probes = start_probes(self.settings, self.pulse, self._hostname, self._engine)

    def did_start_ok(self) -> bool:
        return self._running.started_ok

    def register_with_event_loop(self, hub: Any) -> None:
        """Called with every new connection to the broker."""
        self._hub = hub
        self._running.attach(HubDriver(hub))
        if self._probes is not None:
            hub.call_repeatedly(INTERVAL, self.pulse.beat)

    def leave_event_loop(self) -> None:
        """The connection is lost: carry on without the loop until there is another."""
        self._hub = None
        self._running.attach(ThreadDriver())

    def flush(self) -> None:
        """Drop what waits: the broker delivers it again, as it was not acknowledged."""
        if self._engine is not None:
            self._engine.flush()

    def on_close(self) -> None:
        """The worker stops: hand over nothing more."""
        self._deadline.begin()
        self.pulse.stopping()
        if self._engine is not None:
            self._unstarted += self._engine.flush()
            self._engine.close()

    def on_stop(self) -> None:
        """Wait for what runs, then end the children."""
        engine = self._engine
        if engine is None:
            return
        if engine.entered:
            # Celery's signal handler for a cold shutdown has interrupted the engine. What it
            # is doing must be finished first; on_terminate follows when the handler returns.
            engine.close()
            return
        if worker_state.should_terminate in (None, False):
            self._give_back_unstarted(engine)
        self._deadline.begin()
        engine.stop(between=self._watch(engine, self._deadline.at))
        self._ended()

    def wait_softly(self, timeout: float) -> None:
        """Let running tasks go on for so long, or until all have ended; start no others.

        For Celery's signal handler of a soft shutdown, which has interrupted the main thread.
        """
        engine = self._engine
        if engine is None or engine.entered:  # What the engine is doing cannot be finished.
            time.sleep(timeout)
            return
        self.pulse.stopping()
        self._unstarted += engine.flush()
        self.acknowledgements.at_once()
        engine.drain(self._watch(engine, inf), time.monotonic() + timeout)

    def on_terminate(self) -> None:
        """End the children now."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.kill()
            self._ended()

    # ── tasks ────────────────────────────────────────────────────────────────────────────

    def apply_async(
        self,
        target: Callable[..., object],
        args: Any = (),
        kwargs: Any = None,
        *,
        accept_callback: Callable[..., object] | None = None,
        callback: Callable[..., object] | None = None,
        error_callback: Callable[..., object] | None = None,
        timeout_callback: Callable[..., object] | None = None,
        soft_timeout: object = None,
        timeout: object = None,
        **_: object,
    ) -> TaskHandle:
        """Run ``target(*args, **kwargs)`` in a child when its turn comes; returns at once.

        A task with options that cannot be understood fails through its error callback.
        """
        callbacks = {
            "accept_callback": accept_callback,
            "callback": callback,
            "error_callback": error_callback,
            "timeout_callback": timeout_callback,
        }
        job = TaskHandle(
            self._running,
            bare_call(target, kwargs),
            tuple(args or ()),
            callbacks,
            soft_timeout,
            timeout,
            self._default_limits,
            self.ledger,
            self._hard,
            self.quarantine,
            self.gate,
        )
        try:
            if job.headers is not None:
                self.gate.check(job.headers)
            job.level = self._level(job.headers)
        except WorkerPoolError as exc:
            tell(job.refused, exc)
            return job
        self._running.submit(job)
        return job

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """End the task that child ``pid`` runs."""
        self._running.terminate_on(pid, signal or TERM_SIGNAL)

    # ── size ─────────────────────────────────────────────────────────────────────────────

    def grow(self, n: int = 1) -> None:
        """Start ``n`` more children; a ValueError says why that is no number of them."""
        self._running.resize(self.num_processes + number_of_children(n), "asked for")

    def shrink(self, n: int = 1) -> None:
        """Let ``n`` children go: idle ones now, busy ones after their task.

        Raises:
            ValueError: no number of children, or there are fewer.
        """
        if number_of_children(n) > self.num_processes:
            raise ValueError(f"cannot shrink by {n}: the pool has {self.num_processes} children")
        self._running.resize(self.num_processes - n, "asked for")

    def scale_between(self, low: int, high: int, on_event: Callable[[PoolEvent], None]) -> None:
        """Have the load decide on the size; with a dry run, only say so. Before the pool starts.

        Arguments:
            on_event: called with what happens to the pool, with the engine's lock held.
        """
        self._bounds = low, high
        self._on_event = on_event

    def rescale(self, low: int, high: int) -> None:
        """Other bounds from now on, for a pool whose size the load decides on."""
        engine = self._running
        with engine:
            engine.elastic.set_bounds(low, high, time.monotonic())

    def restart(self) -> None:
        """Replace every child, without a dip in capacity."""
        self._running.restart()

    def recycle(self) -> dict[str, object]:
        """The same, for whom it may concern: how many there are, and how many go at a time."""
        at_once = self._running.restart("recycled on request")
        return {"children": self.num_processes, "at_once": at_once}

    def maintain_pool(self, *_: object, **__: object) -> None:
        self._running.resize(self._running.target)

    @property
    def num_processes(self) -> int:
        return self._running.target if self._engine is not None else int(self.limit or 0)

    @property
    def open_tasks(self) -> int:
        """Tasks in this worker, those that wait for a child included."""
        return self._running.running + self._running.waiting

    @property
    def scaling(self) -> dict[str, object] | None:
        """Bounds, last decision and its reason; None for a pool that does not scale."""
        return None if self._engine is None else describe_scaling(self._engine)

    @property
    def engine(self) -> Engine | None:
        """What runs the tasks; None before the start and after the end."""
        return self._engine

    def status(self) -> dict[str, object]:
        """What each child does and what waits, as data (``celery workerpool status``)."""
        found = {**describe_status(self._running, self.ledger), **describe_gate(self.gate)}
        return {**found, "quarantined": len(self.quarantine)}

    def metrics(self) -> dict[str, object]:
        """The worker's figures as data, to be merged (``celery workerpool metrics``)."""
        with self._running:  # Its thread adds to them.
            return self.ledger.snapshot(time.monotonic()) | describe_gate(self.gate)

    def report(self) -> dict[str, object]:
        """Status, metrics and machine in one, for the facade."""
        return {
            "status": self.status(),
            "metrics": self.metrics(),
            "machine": describe_machine(),
            "gate": describe_gate(self.gate),
        }

    def _get_info(self) -> dict[str, object]:
        # The name that a configuration has, not where the class is defined.
        kind = type(self)
        module = __package__.partition(".")[0] if kind is WorkerPool else kind.__module__
        info = describe_options(self.settings, self.options)
        info |= {"implementation": f"{module}:{kind.__name__}", "max-concurrency": self.limit}
        if self._engine is not None:
            info.update(describe_pool(self._engine, self._default_limits, self.ledger))
            info.update(describe_gate(self.gate))
            info["quarantined"] = len(self.quarantine)
        return info

    # ── helpers ──────────────────────────────────────────────────────────────────────────

    def _count_waiting(self) -> int:
        return self._engine.waiting if self._engine is not None else 0

    def _ended(self) -> None:
        self._engine = None
        self._deadline.pool_ended()
        self._hard.summarize()
        self.gate.close(CLOSING)
        if self._probes is not None:
            self._probes.stop()
            self._probes = None

    def _watch(self, engine: Engine, end_at: float) -> ShutdownWatch:
        grace = self.settings.terminate_grace
        return ShutdownWatch(engine, grace, end_at, self._hub, self.events, self.pulse)

    def _give_back_unstarted(self, engine: Engine) -> None:
        """Others may take what is not started while this worker waits for what is."""
        jobs, self._unstarted = self._unstarted + engine.flush(), []
        if self._hub is not None:
            give_back_all(jobs, self.gate.held(), self.ledger)

    @property
    def _running(self) -> Engine:
        if self._engine is None:
            raise RuntimeError("the worker pool is not running: start() comes first")
        return self._engine

    def _observe(self, event: PoolEvent) -> None:
        if isinstance(event, WorkerExited):
            self.ledger.children[event.end] += 1
        elif isinstance(event, TaskQuarantined):
            self.ledger.quarantined += 1
        self.pulse.observe(event)
        self.events.send(event)
        self._on_event(event)

    @property
    def _hostname(self) -> str:
        initargs = self.options.get("initargs")
        return str(initargs[1] if initargs else gethostname())

    def _level(self, headers: dict[str, Any] | None) -> float:
        if headers is None:
            return float(TaskPriority.NORMAL)
        number = headers["delivery_info"].get("priority")
        return priority.level(headers.get(priority.HEADER), number, low_first=self._low_first)

    def _announce_child(self) -> None:
        signals.worker_before_create_process.send(sender=self)
