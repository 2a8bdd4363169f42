"""Everything this package raises on purpose.

WorkerPoolError
├── SettingsError          a setting is unknown, of the wrong type or out of range
├── InvalidTaskError       a task's own options cannot be understood; only that task fails
├── MemoryLimitExceeded    the task's child outgrew the memory limit and was killed
├── ResultNotPlain         a function sent a result that is no plain data
└── ForkServerLost         the process that starts children is gone
"""

from __future__ import annotations


class WorkerPoolError(Exception):
    """Base of every error of this package."""


class SettingsError(WorkerPoolError, ValueError):
    """A setting is wrong; says which, what came and what is expected."""

    def __init__(self, setting: str, value: object, expected: str) -> None:
        super().__init__(setting, value, expected)
        self.setting = setting
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.setting} = {self.value!r}: expected {self.expected}"


class InvalidTaskError(WorkerPoolError, ValueError):
    """An option or header of one task is wrong; says which, what came and what is expected."""

    def __init__(self, option: str, value: object, expected: str) -> None:
        super().__init__(option, value, expected)
        self.option = option
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.option} = {self.value!r}: expected {self.expected}"


class MemoryLimitExceeded(WorkerPoolError):
    """The child that ran the task was killed because it outgrew ``memory_kill_ratio``."""


class ResultNotPlain(WorkerPoolError):
    """The result of a bare function was an object, and the pool takes plain data only."""


class ForkServerLost(WorkerPoolError):
    """The process that starts children ended; the pool starts another."""
