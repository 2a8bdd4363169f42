"""Reads how urgent a task is.

The order inside a worker must never contradict the broker's. So a number is read in the
broker's own direction, a missing number is what the broker takes it for, and only a task that
names its priority (the header ``task_priority``) is placed without looking at its number.
"""

from __future__ import annotations

import math
from numbers import Real

from ..errors import InvalidTaskError
from ..types import TaskPriority

#: Header of a task message that names its priority, e.g. ``"HIGH"``.
HEADER = "task_priority"

#: Steps of the brokers' scales (0 to 9) that are worth one level.
_STEP = 3.0
#: Any float can hold a whole number below it.
_LARGE = 2**53


def level(name: object, number: object, *, low_first: bool) -> float:
    """The scheduler's level of a task: 0 is CRITICAL, 3 is LOW, fractions lie between.

    Arguments:
        name: the header, or None.
        number: the message's priority property, or None.
        low_first: whether low numbers come first, as on Redis; RabbitMQ has high ones first.

    Raises:
        InvalidTaskError: the name is no TaskPriority, the number no finite number.
    """
    if name is not None:
        return float(_named(name))
    if number is None:
        number = 0  # What Redis and RabbitMQ take it for; the first there, the last here.
    if type(number) is int and abs(number) < _LARGE:
        value = float(number)  # As good as always; the check is quick.
    elif not _is_finite(number):
        raise InvalidTaskError("priority", number, "a number from 0 to 9, or None")
    else:
        value = float(number)  # type: ignore[arg-type]  # checked
    return value / _STEP if low_first else (9.0 - value) / _STEP


def number(priority: TaskPriority, *, low_first: bool) -> int:
    """The number, 0 to 9, that a broker orders a task by that is so urgent."""
    steps = int(priority) if low_first else len(TaskPriority) - 1 - int(priority)
    return int(steps * _STEP)


def _is_finite(number: object) -> bool:
    if isinstance(number, bool) or not isinstance(number, Real):
        return False
    try:
        return math.isfinite(number)
    except OverflowError:  # A whole number that no float can hold.
        return False


def _named(name: object) -> TaskPriority:
    if isinstance(name, str) and name.upper() in TaskPriority.__members__:
        return TaskPriority[name.upper()]
    expected = f"one of {', '.join(TaskPriority.__members__)}"
    raise InvalidTaskError(HEADER, name, expected)
