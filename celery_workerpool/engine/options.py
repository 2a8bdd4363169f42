"""How an engine and its children behave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..events import PoolEvent
from ..policy.scaling import ScalingRules
from ..process.memory import family_resident
from ..process.vitals import Vitals, vitals
from ..types import MemoryLimits, UnhealthyPolicy
from .room import RoomKeeper


@dataclass(frozen=True, slots=True)
class CrewOptions:
    """How children live. Durations in seconds."""

    start_timeout: float = 4.0  # until a child is ready
    max_tasks: int | None = None  # tasks per child, at least 1
    soft_max_tasks: int | None = None  # after so many it is replaced once nothing waits for it
    max_age: float | None = None  # after which it is replaced
    most_ahead: int = 2  # replacements started at a time where children are used up quickly
    #: Called before each child is started, in the pool's process.
    before_launch: Callable[[], None] = lambda: None
    #: Called with what happens to children, with the engine's lock held; must not raise.
    observe: Callable[[PoolEvent], None] = lambda _event: None


@dataclass(frozen=True, slots=True)
class ScalingOptions:
    """How the size follows the load."""

    rules: ScalingRules
    room: RoomKeeper
    dry_run: bool = False  # only say what would be done


@dataclass(frozen=True, slots=True)
class HealthOptions:
    """When children are taken to be unhealthy. Durations in seconds."""

    heartbeat: float | None = None  # between two signs of life; None: there are none to wait for
    limit: float = 30.0  # of silence
    policy: UnhealthyPolicy = UnhealthyPolicy.REPORT
    lag_threshold: float | None = None  # by which the loop may be late untold
    #: What the kernel knows of a process, None when it is gone.
    vitals: Callable[[int], Vitals | None] = vitals


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How tasks are run. Durations in seconds."""

    aging: float = 30.0  # of waiting, worth one priority level
    memory: MemoryLimits = field(default_factory=MemoryLimits)
    sample_interval: float = 1.0  # between two looks at the memory of busy children, at most
    #: Resident bytes of a process and its descendants; see :class:`.memory.MemoryWatch`.
    memory_probe: Callable[[int, int | None], int | None] = family_resident
    health: HealthOptions = field(default_factory=HealthOptions)
    scaling: ScalingOptions | None = None  # None: the size is what it was set to
    crew: CrewOptions = field(default_factory=CrewOptions)
