"""The engine's options, from Celery's and the pool's own settings."""

from __future__ import annotations

from ..engine.options import ScalingOptions
from ..engine.room import MachineRoom
from ..policy.scaling import ScalingRules
from ..settings import Settings


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


def strictest(*limits: object) -> int | None:
    """The lowest of the limits that are set; None when none is."""
    given = [int(limit) for limit in limits if isinstance(limit, int) and limit]
    return min(given, default=None)
