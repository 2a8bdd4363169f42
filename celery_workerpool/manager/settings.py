"""The facade's settings, validated once."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from ..errors import SettingsError
from ..spelling import one_that_exists

#: No number is larger.
_LARGEST = sys.float_info.max
#: Where all settings are listed.
PAGE = "see docs/facade.md"


def _number(default: float, *, at_least: float = 0.0, at_most: float = _LARGEST) -> Any:
    return field(default=default, metadata={"bounds": (at_least, at_most)})


@dataclass(frozen=True, slots=True)
class ManagerSettings:
    """How tasks are submitted, and in embedded mode what runs them. Durations in seconds.

    Raises:
        SettingsError: a value has the wrong type or is out of range.
    """

    # ── each task, unless it says otherwise ──
    #: Until a task is ended; see ``submit_task(timeout=…)``.
    task_timeout: float = _number(30.0, at_least=0.001)
    max_retries: int = _number(3)
    #: Doubles with each retry, with full jitter.
    retry_delay: float = _number(1.0)
    retry_max_delay: float = _number(600.0)
    #: Tasks submitted here that have not ended, and tasks of other processes that wait in the same
    #: queues or in workers; one more is refused.
    max_task_queue_size: int = _number(1000, at_least=1)
    #: The part of it from which on ``backpressure`` is true.
    backpressure_threshold: float = _number(0.9, at_least=0.0, at_most=1.0)

    # ── the worker of embedded mode ──
    min_workers: int = _number(2, at_least=1)
    max_workers: int = _number(8, at_least=1)
    #: Bytes; a child that holds more is replaced after its task.
    max_worker_memory: int = _number(512 * 2**20, at_least=2**20)
    #: A child that holds more than this multiple of it is killed, and its task fails.
    worker_memory_kill_ratio: float = _number(1.5, at_least=1.0)
    #: Kill and replace a child that gives no sign of life.
    enable_health_checks: bool = True
    #: For so long.
    health_check_interval: float = _number(30.0, at_least=0.001)
    #: Tasks after which a child is replaced once nothing waits for it, and after which it is
    #: replaced in any case; the second is never lower than the first.
    max_tasks_per_worker: int = _number(100, at_least=1)
    worker_recycle_threshold: int = _number(500, at_least=1)
    enable_auto_scaling: bool = True
    #: Parts of the children that are busy: from which on their number may grow, and up to which
    #: it may shrink.
    scale_up_threshold: float = _number(0.7, at_most=1.0)
    scale_down_threshold: float = _number(0.3, at_most=1.0)
    #: Between two times that their number grows, and between two that it shrinks.
    scale_up_cooldown: float = _number(30.0)
    scale_down_cooldown: float = _number(60.0)
    #: After which an idle child above the minimum goes.
    worker_idle_timeout: float = _number(300.0, at_least=0.001)
    handler_modules: tuple[str, ...] = ()
    file_roots: tuple[str, ...] | None = None
    custom_modules: tuple[str, ...] = ()

    enable_debug_logging: bool = False

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            if "bounds" in item.metadata:
                self._check_number(item)
            elif item.type == "bool" and not isinstance(getattr(self, item.name), bool):
                raise SettingsError(item.name, getattr(self, item.name), "True or False")
            elif "tuple" in str(item.type):
                self._check_names(item)
        self._check_order("min_workers", "max_workers")
        self._check_order("scale_down_threshold", "scale_up_threshold")

    @classmethod
    def make(cls, settings: dict[str, Any]) -> Self:
        """From keyword arguments.

        Raises:
            SettingsError: also for a name that does not exist.
        """
        known = [item.name for item in dataclasses.fields(cls)]
        for name, value in settings.items():
            if name not in known:
                raise SettingsError(name, value, one_that_exists("a setting", name, known, PAGE))
        return cls(**settings)

    def _check_number(self, item: dataclasses.Field[Any]) -> None:
        value = getattr(self, item.name)
        lowest, highest = item.metadata["bounds"]
        kind = int if item.type == "int" else (int, float)
        expected = "a whole number" if item.type == "int" else "a number"
        expected += f" of at least {lowest:g}"
        expected += f", at most {highest:g}" if highest < _LARGEST else ""
        right = isinstance(value, kind) and not isinstance(value, bool)
        if not right or not lowest <= value <= highest:
            raise SettingsError(item.name, value, expected)

    def _check_order(self, lower: str, upper: str) -> None:
        least, most = getattr(self, lower), getattr(self, upper)
        if least > most:
            raise SettingsError(lower, least, f"at most {upper} ({most:g})")

    def _check_names(self, item: dataclasses.Field[Any]) -> None:
        value = getattr(self, item.name)
        if value is None and "None" in str(item.type):
            return
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise SettingsError(item.name, value, "a list of text")
        names = tuple(value)
        if not all(isinstance(name, str) and name for name in names):
            raise SettingsError(item.name, value, "a list of text")
        object.__setattr__(self, item.name, names)
