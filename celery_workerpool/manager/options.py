"""What ``submit_task`` takes, and what it says of anything else."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from typing import Any

from ..errors import InvalidTaskError
from ..policy.graph import Dependencies, describe_cycle, find_cycle
from ..spelling import one_that_exists
from ..types import TaskPriority, WorkerTaskType

#: Bytes of metadata, as JSON.
MAX_METADATA = 65536


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What ``submit_task`` takes beside the type and the payload."""

    priority: TaskPriority | str = TaskPriority.NORMAL
    timeout: float | None = None
    max_retries: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    task_id: str | None = None
    queue: str | None = None
    countdown: float | None = None
    eta: datetime | None = None
    expires: float | datetime | None = None
    tags: Iterable[str] = ()
    #: Ids of tasks, any tasks of the deployment, that have to succeed before this one runs.
    dependencies: Iterable[str] | None = None
    #: What becomes of it when one of them does not: "fail", "run" or "cancel".
    on_dependency_failure: str | None = None
    #: Seconds that it waits for tasks of which nothing is heard; None: as the workers have it.
    dependency_timeout: float | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> TaskOptions:
        """From keyword arguments.

        Raises:
            InvalidTaskError: there is no such option.
        """
        known = [item.name for item in fields(cls)]
        for name, value in options.items():
            if name not in known:
                expected = one_that_exists("an option", name, known, f"one of {', '.join(known)}")
                raise InvalidTaskError(name, value, expected)
        return cls(**options)

    def waits_for(self) -> Dependencies:
        """The dependencies, checked.

        Raises:
            InvalidTaskError: names the option, what came and what is expected.
        """
        given = self.dependencies
        # Text would be taken for a list of one-letter ids.
        ids = given if given is None or isinstance(given, str | Mapping) else _listed(given)
        return Dependencies.checked(
            self.task_id or "", ids, self.on_dependency_failure, self.dependency_timeout
        )


class TaskSpec:
    """One of many tasks that are submitted together.

    Arguments:
        after: in ``submit_graph``, names of other tasks of the graph that it waits for.
        options: the fields of :class:`TaskOptions`; they outrank those for all.
    """

    def __init__(
        self,
        task_type: WorkerTaskType | str,
        payload: Any,
        *,
        after: Iterable[str] = (),
        **options: Any,
    ) -> None:
        self.type = task_type
        self.payload = payload
        self.after = after if isinstance(after, str) else tuple(after)
        self.options = options

    @classmethod
    def of(cls, given: object) -> TaskSpec:
        """Itself, or made of a type and a payload.

        Raises:
            InvalidTaskError: it is neither.
        """
        if isinstance(given, TaskSpec):
            return given
        if isinstance(given, tuple | list) and len(given) == 2:
            return cls(*given)
        expected = "a TaskSpec, or a task type and a payload"
        raise InvalidTaskError("tasks", type(given).__name__, expected)

    def __repr__(self) -> str:
        # No payload: it may hold a key.
        return f"TaskSpec({self.type!s}, after={self.after!r})"


def in_order(after: Mapping[str, Any]) -> list[str]:
    """The names of a graph's tasks, each after those that it waits for.

    Arguments:
        after: the names that each waits for.

    Raises:
        InvalidTaskError: a name is not in the graph, or there is a cycle, which is named.
    """
    for name, others in after.items():
        if not isinstance(others, tuple) or not all(isinstance(other, str) for other in others):
            raise InvalidTaskError(f"{name}.after", others, "a list of names")
        for other in others:
            if other not in after:
                raise InvalidTaskError(f"{name}.after", other, "the name of a task of the graph")
    cycle = find_cycle(after)
    if cycle:
        raise InvalidTaskError("after", cycle[0], f"no cycle: {describe_cycle(cycle)}")
    return list(TopologicalSorter(after).static_order())


def _listed(given: object) -> object:
    return tuple(given) if isinstance(given, Iterable) else given


def priority(value: object) -> TaskPriority:
    if isinstance(value, TaskPriority):
        return value
    if isinstance(value, str) and value.upper() in TaskPriority.__members__:
        return TaskPriority[value.upper()]
    expected = f"a TaskPriority: {', '.join(TaskPriority.__members__)}"
    raise InvalidTaskError("priority", value, expected)


def seconds(option: str, value: object, *, above: float | None = None) -> float | None:
    if value is None:
        return None
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else -1.0
    if 0 <= number <= sys.float_info.max and number != above:
        return float(number)
    bound = "of at least 0" if above is None else f"above {above:g}"
    raise InvalidTaskError(option, value, f"seconds, as a number {bound}")


def moment(option: str, value: object) -> datetime | None:
    if value is not None and not isinstance(value, datetime):
        raise InvalidTaskError(option, value, "a datetime")
    if value is not None and value.tzinfo is None:
        raise InvalidTaskError(option, value, "a datetime with a time zone")
    return value


def expiry(value: object) -> float | datetime | None:
    if not isinstance(value, datetime):
        return seconds("expires", value, above=0.0)
    expiry_time = moment("expires", value)
    if expiry_time is not None and expiry_time <= datetime.now(UTC):
        raise InvalidTaskError("expires", value, "a time to come")
    return expiry_time


def count(option: str, value: object, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidTaskError(option, value, "a whole number of at least 0")
    return value


def text(option: str, value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidTaskError(option, value, "text that is not empty")
    return value


def texts(option: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidTaskError(option, value, "a list of text")
    texts = tuple(value)
    if not all(isinstance(text, str) for text in texts):
        raise InvalidTaskError(option, value, "a list of text")
    return texts


def metadata(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidTaskError("metadata", value, "an object with text for keys")
    # It goes into a header, which brokers encode each in its own way; what is plain is the same
    # in all, and what is small fits into a frame of RabbitMQ's.
    try:
        size = len(json.dumps(value, allow_nan=False)) if value else 0
    except (TypeError, ValueError):
        size = sys.maxsize
    if size > MAX_METADATA:
        expected = f"data that JSON can hold, of at most {MAX_METADATA} bytes"
        raise InvalidTaskError("metadata", value, expected)
    return dict(value)
