"""The engine's options, from Celery's and the pool's own settings."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from celery.utils.nodenames import host_format, node_format

from ..engine.engine import Engine
from ..engine.options import CrewOptions, EngineOptions, HealthOptions, ScalingOptions
from ..engine.room import MachineRoom
from ..errors import SettingsError
from ..events import PoolEvent
from ..policy.liveness import Health, judge
from ..policy.scaling import ScalingRules
from ..process.machine import Machine
from ..settings import PREFIX, Settings
from ..types import MemoryLimits, UnhealthyPolicy
from .probes import Probes, Systemd
from .pulse import Pulse

#: Seconds a spawned child may take to import the application, unless told otherwise.
SPAWN_TIMEOUT = 60.0


def engine_options(
    conf: Any,
    settings: Settings,
    options: Mapping[str, Any],
    *,
    spawn: bool,
    bounds: tuple[int, int] | None,
    before_launch: Callable[[], None],
    observe: Callable[[PoolEvent], None],
) -> EngineOptions:
    """How the engine runs tasks and children.

    Arguments:
        conf: Celery's settings.
        options: those that Celery gives to a pool.
        bounds: the fewest and the most children, where their number follows the load.
    """
    return EngineOptions(
        aging=settings.priority_aging,
        memory=memory_limits(settings, options.get("max_memory_per_child")),
        sample_interval=settings.memory_sample_interval,
        health=HealthOptions(
            heartbeat=settings.heartbeat_interval,
            limit=settings.health_check_interval,
            policy=UnhealthyPolicy(settings.unhealthy_policy),
            lag_threshold=settings.loop_lag_threshold,
        ),
        crew=CrewOptions(
            start_timeout=start_timeout(settings, conf.worker_proc_alive_timeout, spawn),
            max_tasks=max_tasks(settings, options),
            soft_max_tasks=settings.max_tasks_per_worker,
            max_age=settings.max_worker_age,
            most_ahead=math.ceil(Machine().cpus()),
            before_launch=before_launch,
            observe=observe,
        ),
        scaling=bounds and scaling_options(settings, bounds),
    )


def max_tasks(settings: Settings, options: Mapping[str, Any]) -> int | None:
    """Tasks that a child may run, Celery's setting or the pool's."""
    return strictest(options.get("maxtasksperchild"), settings.worker_recycle_threshold)


def memory_limits(settings: Settings, kibibytes: Any) -> MemoryLimits:
    """Of a child, from ``worker_max_memory_per_child``."""
    if not kibibytes:
        return MemoryLimits()
    recycle = int(kibibytes) * 1024
    ratio = settings.memory_kill_ratio
    return MemoryLimits(recycle, int(recycle * ratio) if ratio else None)


def start_timeout(settings: Settings, alive_timeout: float, spawn: bool) -> float:
    """Seconds until a child is ready, or given up."""
    if settings.start_timeout is not None:
        return settings.start_timeout
    timeout = float(alive_timeout)
    return max(timeout, SPAWN_TIMEOUT) if spawn else timeout


def scaling_options(settings: Settings, bounds: tuple[int, int]) -> ScalingOptions:
    """How a pool scales between ``bounds``, the fewest and the most children."""
    rules = ScalingRules(
        *bounds,
        up_threshold=settings.scale_up_threshold,
        down_threshold=settings.scale_down_threshold,
        up_cooldown=settings.scale_up_cooldown,
        down_cooldown=settings.scale_down_cooldown,
        idle_timeout=settings.worker_idle_timeout,
    )
    room = MachineRoom(settings.scaling_memory_limit, settings.scaling_cpu_limit)
    return ScalingOptions(rules, room, settings.scaling_dry_run)


def start_probes(settings: Settings, pulse: Pulse, hostname: str, engine: Engine) -> Probes | None:
    """What answers probes, running; None where nobody wants to know.

    Raises:
        SettingsError: the endpoint's address cannot be had.
    """
    file, port = settings.health_file, settings.health_port
    notify, watchdog = Systemd.wanted(os.environ)
    if file is None and port is None and notify is None:
        return None
    try:
        probes = Probes(
            lambda: _look(pulse, engine, settings.stuck_after),
            lambda: {"hostname": hostname, "running": engine.running, "waiting": engine.waiting},
            file=host_format(node_format(file, hostname)) if file is not None else None,
            address=(settings.health_host, port) if port is not None else None,
            notify=notify,
            watchdog=watchdog,
        )
    except OSError as exc:
        where = f"a free address ({settings.health_host}: {exc.strerror or exc})"
        raise SettingsError(PREFIX + "health_port", port, where) from exc
    probes.start()
    return probes


def _look(pulse: Pulse, engine: Engine, stuck_after: float) -> Health:
    pulse.ask()
    return judge(pulse.signs(engine.target), stuck_after)


def strictest(*limits: object) -> int | None:
    """The lowest of the limits that are set; None when none is."""
    given = [int(limit) for limit in limits if isinstance(limit, int) and limit]
    return min(given, default=None)


def number_of_children(value: object) -> int:
    """By how many the pool is to grow or to shrink, checked.

    Raises:
        ValueError: no whole number of at least 0.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} children: expected a whole number of at least 0")
    return value
