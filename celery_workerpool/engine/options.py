"""How an engine and its children behave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..events import PoolEvent
from ..process.memory import resident
from ..types import MemoryLimits


@dataclass(frozen=True, slots=True)
class CrewOptions:
    """How children live. Durations in seconds."""

    start_timeout: float = 4.0  # until a child is ready
    max_tasks: int | None = None  # tasks per child, at least 1
    #: Called before each child is started, in the pool's process.
    before_launch: Callable[[], None] = lambda: None
    #: Called with what happens to children, with the engine's lock held; must not raise.
    observe: Callable[[PoolEvent], None] = lambda _event: None


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How tasks are run. Durations in seconds."""

    aging: float = 30.0  # of waiting, worth one priority level
    memory: MemoryLimits = field(default_factory=MemoryLimits)
    sample_interval: float = 1.0  # between two looks at the memory of busy children
    #: Resident bytes of a process, None when it is gone.
    memory_probe: Callable[[int], int | None] = resident
    crew: CrewOptions = field(default_factory=CrewOptions)
