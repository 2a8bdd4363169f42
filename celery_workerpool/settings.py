"""One validated, frozen object for everything that can be configured beyond Celery's own."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .errors import SettingsError
from .spelling import one_that_exists
from .types import UnhealthyPolicy

#: Celery settings that belong to this package start with it (``CELERY_WORKERPOOL_…`` in Django).
PREFIX = "workerpool_"
#: Where all of them are listed.
PAGE = "see docs/settings.md"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the pool, each as ``workerpool_<name>`` in the Celery configuration.

    Raises:
        SettingsError: a value has the wrong type or is out of range.
    """

    #: Seconds of waiting that lift a task by one priority level.
    priority_aging: float = 30.0
    #: Seconds between two looks at the memory of a child that runs a task.
    memory_sample_interval: float = 1.0
    #: Kill a child whose memory exceeds this multiple of ``worker_max_memory_per_child``
    #: while its task runs; None leaves it to be replaced after the task.
    memory_kill_ratio: float | None = None
    #: Seconds between two signs of life of a child; None: it gives none, and nothing of what
    #: follows here is done.
    heartbeat_interval: float | None = 1.0
    #: Seconds without one until a child is unhealthy.
    health_check_interval: float = 30.0
    #: What becomes of an unhealthy child that runs a task: "report" or "kill". A task's own
    #: attribute ``workerpool_unhealthy_policy`` outranks it. An idle one is always replaced.
    unhealthy_policy: str = "report"
    #: Seconds by which the main process may be late before an event says so; None: never.
    loop_lag_threshold: float | None = 1.0
    #: Seconds a child may take until it is ready; None: ``worker_proc_alive_timeout``, and at
    #: least 60 where every child is a fresh interpreter (``worker_pool_start_method`` spawn).
    start_timeout: float | None = None
    #: Seconds between the signal that ends a task when the pool stops, and SIGKILL.
    terminate_grace: float = 5.0
    #: Seconds that a warm shutdown waits for running tasks; None: as long as they take.
    shutdown_timeout: float | None = None
    #: Where tasks wait for others: a URL; None: where the results are, if that is possible.
    gate_store: str | None = None
    #: Seconds that a task waits for others of which nothing is heard; a task's header
    #: ``dependency_timeout`` outranks it.
    dependency_timeout: float = 86400.0
    #: Seconds that the store remembers tasks that have ended; None: ``result_expires``.
    gate_keep: float | None = None
    #: Seconds between two looks over the store, for what ended on other pools or was left
    #: behind by a crash.
    gate_sweep_interval: float = 5.0
    #: Seconds after which a task that was released, and did not get to the broker, is released
    #: again.
    gate_lease: float = 30.0
    #: Times that a task may kill its child until it is not run again; None: no limit.
    max_crashes_per_task: int | None = 3
    #: Whether the number of children follows the load, from ``min_workers`` to ``max_workers``;
    #: it does anyway with ``--autoscale``, whose numbers then are the bounds.
    enable_auto_scaling: bool = False
    min_workers: int = 2
    max_workers: int = 8
    #: Utilization (the part of the children that is busy) from which on the pool may grow, and
    #: up to which it may shrink.
    scale_up_threshold: float = 0.7
    scale_down_threshold: float = 0.3
    #: Seconds between two times that the pool grows, and between two that it shrinks.
    scale_up_cooldown: float = 30.0
    scale_down_cooldown: float = 60.0
    #: Only report what autoscaling would do.
    scaling_dry_run: bool = False
    #: The part of the memory of the machine, or its cgroup, above which no child is added; None:
    #: memory sets no limit.
    scaling_memory_limit: float | None = 0.9
    #: The part of the CPUs allowed which, used by this pool, keeps it from growing; None: none.
    scaling_cpu_limit: float | None = 0.95
    #: Seconds after which an idle child above the minimum goes; with autoscaling.
    worker_idle_timeout: float = 300.0
    #: Tasks after which a child is replaced once nothing waits for it; None: none.
    max_tasks_per_worker: int | None = None
    #: Tasks after which a child is replaced even under load; None: none.
    worker_recycle_threshold: int | None = None
    #: Seconds after which a child is replaced; None: none.
    max_worker_age: float | None = None
    #: Seconds that a task waits in a worker whose children are all busy until that looks for
    #: another worker to take it; None: never.
    give_back_after: float | None = 1.0
    #: Seconds without a sign of life after which others put back what a worker had, on Redis, and
    #: keep what a live one has from coming back; None: the visibility timeout decides alone.
    redeliver_after: float | None = 120.0
    #: A file that holds the worker's condition and is touched each second while it lives;
    #: ``%n``, ``%h`` and ``%d`` as in the name of a log file.
    health_file: str | None = None
    #: Port of an HTTP endpoint for probes, 0 for any that is free; None: there is none.
    health_port: int | None = None
    #: Where it listens.
    health_host: str = "127.0.0.1"
    #: Seconds that the worker's main loop may stand still until it counts as stuck.
    stuck_after: float = 30.0
    #: Modules that register handlers of task types, by dotted name or as paths of .py files.
    handler_modules: tuple[str, ...] = ()
    #: Folders outside of which handlers open no file; None: no limit.
    file_roots: tuple[str, ...] | None = None
    #: Modules whose functions CUSTOM tasks may name; "package.*" for all below one.
    custom_modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check("priority_aging", above=0.0)
        self._check("memory_sample_interval", at_least=0.01)
        self._check("memory_kill_ratio", at_least=1.0, optional=True)
        self._check("heartbeat_interval", at_least=0.05, optional=True)
        self._check("health_check_interval", above=0.0)
        self._check_choice("unhealthy_policy", [policy.value for policy in UnhealthyPolicy])
        self._check("loop_lag_threshold", above=0.0, optional=True)
        self._check("start_timeout", above=0.0, optional=True)
        self._check("terminate_grace", at_least=0.0)
        self._check("shutdown_timeout", at_least=0.0, optional=True)
        self._check_url("gate_store")
        self._check("dependency_timeout", above=0.0)
        self._check("gate_keep", above=0.0, optional=True)
        self._check("gate_sweep_interval", at_least=0.1)
        self._check("gate_lease", at_least=0.1)
        self._check_count("max_crashes_per_task", at_least=1, optional=True)
        self._check_scaling()
        self._check_count("max_tasks_per_worker", at_least=1, optional=True)
        self._check_count("worker_recycle_threshold", at_least=1, optional=True)
        self._check("max_worker_age", above=0.0, optional=True)
        self._check("give_back_after", at_least=0.1, optional=True)
        self._check("redeliver_after", at_least=1.0, optional=True)
        self._check_count("health_port", at_least=0, at_most=65535, optional=True)
        self._check_health_places()
        self._check("stuck_after", at_least=1.0)
        self._check_names("handler_modules")
        self._check_names("file_roots", optional=True)
        self._check_names("custom_modules")

    @classmethod
    def from_mapping(cls, conf: Mapping[str, object]) -> Settings:
        """Pick the ``workerpool_*`` keys out of a Celery configuration (lower-case keys).

        Raises:
            SettingsError: also for a ``workerpool_*`` key that does not exist.
        """
        known = {field.name for field in fields(cls)}
        given = {k.removeprefix(PREFIX): v for k, v in conf.items() if k.startswith(PREFIX)}
        for name in given:
            if name not in known:
                expected = one_that_exists("a setting", name, known, PAGE, prefix=PREFIX)
                raise SettingsError(PREFIX + name, given[name], expected)
        return cls(**given)  # type: ignore[arg-type]  # checked by __post_init__

    @classmethod
    def of_app(cls, app: Any) -> Settings:
        """Those of a Celery app, whatever the spelling of its keys.

        With a namespace (Django's ``CELERY_WORKERPOOL_…``) Celery finds a key when it is asked
        for, but lists it as it was written.

        Raises:
            SettingsError: as :meth:`from_mapping`.
        """
        conf = app.conf
        namespace = str(getattr(conf, "prefix", None) or "").lower()
        lowered = ((str(key).lower().removeprefix(namespace), key) for key in conf)
        return cls.from_mapping(
            {name: conf[key] for name, key in lowered if name.startswith(PREFIX)}
        )

    def _check_scaling(self) -> None:
        self._check_flag("enable_auto_scaling")
        self._check_flag("scaling_dry_run")
        self._check_count("min_workers", at_least=0)
        self._check_count("max_workers", at_least=1)
        self._check_order("min_workers", "max_workers")
        self._check("scale_up_threshold", at_least=0.0, at_most=1.0)
        self._check("scale_down_threshold", at_least=0.0, at_most=1.0)
        self._check_order("scale_down_threshold", "scale_up_threshold")
        self._check("scale_up_cooldown", at_least=0.0)
        self._check("scale_down_cooldown", at_least=0.0)
        self._check("scaling_memory_limit", at_least=0.0, at_most=1.0, optional=True)
        self._check("scaling_cpu_limit", at_least=0.0, at_most=1.0, optional=True)
        self._check("worker_idle_timeout", above=0.0)

    def _check(
        self,
        name: str,
        *,
        above: float | None = None,
        at_least: float = 0.0,
        at_most: float = math.inf,
        optional: bool = False,
    ) -> None:
        value = getattr(self, name)
        if value is None and optional:
            return
        bound = f"above {above:g}" if above is not None else f"of at least {at_least:g}"
        bound += f", at most {at_most:g}" if at_most < math.inf else ""
        expected = f"a number {bound}" + (" or None" if optional else "")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SettingsError(PREFIX + name, value, expected)
        in_range = value > above if above is not None else at_least <= value <= at_most
        if not in_range or not math.isfinite(value):
            raise SettingsError(PREFIX + name, value, expected)

    def _check_url(self, name: str) -> None:
        value = getattr(self, name)
        if value is not None and (not isinstance(value, str) or "://" not in value):
            raise SettingsError(PREFIX + name, value, "a URL or None")

    def _check_count(
        self, name: str, *, at_least: int, at_most: int | None = None, optional: bool = False
    ) -> None:
        value = getattr(self, name)
        if value is None and optional:
            return
        expected = f"a whole number of at least {at_least}"
        expected += f", at most {at_most}" if at_most is not None else ""
        expected += " or None" if optional else ""
        right = isinstance(value, int) and not isinstance(value, bool) and value >= at_least
        if not right or (at_most is not None and value > at_most):
            raise SettingsError(PREFIX + name, value, expected)

    def _check_flag(self, name: str) -> None:
        value = getattr(self, name)
        if not isinstance(value, bool):
            raise SettingsError(PREFIX + name, value, "True or False")

    def _check_order(self, lower: str, upper: str) -> None:
        bound = getattr(self, upper)
        if getattr(self, lower) > bound:
            expected = f"at most {PREFIX}{upper} ({bound:g})"
            raise SettingsError(PREFIX + lower, getattr(self, lower), expected)

    def _check_health_places(self) -> None:
        file, host = self.health_file, self.health_host
        if file is not None and not (isinstance(file, str) and Path(file).is_absolute()):
            raise SettingsError(PREFIX + "health_file", file, "an absolute path or None")
        try:
            ipaddress.ip_address(str(host))  # Which would take a number for an address.
        except ValueError:
            raise SettingsError(PREFIX + "health_host", host, "an IP address") from None

    def _check_choice(self, name: str, choices: list[str]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise SettingsError(PREFIX + name, value, f"one of {', '.join(choices)}")

    def _check_names(self, name: str, *, optional: bool = False) -> None:
        value = getattr(self, name)
        if value is None and optional:
            return
        listed = isinstance(value, Iterable) and not isinstance(value, str)
        names = tuple(value) if listed else ()
        if not listed or not all(isinstance(item, str) and item for item in names):
            raise SettingsError(PREFIX + name, value, "a list of text")
        object.__setattr__(self, name, names)
