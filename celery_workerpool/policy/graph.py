"""Tasks that wait for others: what their headers say, and what a graph of them may not be."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidTaskError

#: Message headers: a list of task ids; one of :class:`OnFailure`; seconds.
HEADER = "dependencies"
ON_FAILURE_HEADER = "on_dependency_failure"
TIMEOUT_HEADER = "dependency_timeout"

#: Characters that an id may have at most where it is to be waited for.
LONGEST_ID = 255
#: Seconds that a task may wait for others of which nothing is heard: thousands of years.
LONGEST_TIMEOUT = 1e12


class OnFailure(enum.StrEnum):
    """What becomes of a task when one that it waits for does not succeed."""

    FAIL = "fail"  # it fails, with DependencyFailedError
    RUN = "run"  # it runs, once all have ended, however they did
    CANCEL = "cancel"  # it is revoked


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What a task waits for, checked.

    Attributes:
        ids: the tasks, each once, in the order given; empty: it waits for nothing.
        timeout: seconds that it waits for tasks of which nothing is heard; None: as configured.
    """

    ids: tuple[str, ...] = ()
    on_failure: OnFailure = OnFailure.FAIL
    timeout: float | None = None

    @classmethod
    def checked(
        cls, task_id: str, ids: object, on_failure: object = None, timeout: object = None
    ) -> Dependencies:
        """From what a submitter gave; None stands for the default of each.

        Raises:
            InvalidTaskError: names the option, what came and what is expected.
        """
        if ids is not None and not isinstance(ids, list | tuple):
            raise InvalidTaskError(HEADER, ids, "a list of task ids")
        expected = f"of at most {LONGEST_ID} characters, and no null in "
        if ids and not storable(task_id):
            # One task that no store can take would hold up all others that are to be kept.
            raise InvalidTaskError("id", task_id, f"an id {expected}it, as the task is to wait")
        for each in ids or ():
            if not isinstance(each, str) or not each:
                raise InvalidTaskError(HEADER, ids, f"task ids, which are texts; not {each!r}")
            if not storable(each):
                raise InvalidTaskError(HEADER, ids, f"ids {expected}them")
            if each == task_id:
                raise InvalidTaskError(HEADER, ids, "other tasks: no task can wait for itself")
        return cls(tuple(dict.fromkeys(ids or ())), _policy(on_failure), _timeout(timeout))

    @classmethod
    def of_headers(cls, task_id: str, headers: Mapping[str, Any]) -> Dependencies:
        """From the headers of a task message.

        Raises:
            InvalidTaskError: as :meth:`checked`.
        """
        names = (HEADER, ON_FAILURE_HEADER, TIMEOUT_HEADER)
        return cls.checked(task_id, *map(headers.get, names))

    def to_headers(self) -> dict[str, Any]:
        """Headers for the task's message; none for a task that waits for nothing."""
        if not self.ids:
            return {}
        headers: dict[str, Any] = {
            HEADER: list(self.ids),
            ON_FAILURE_HEADER: self.on_failure.value,
        }
        return headers if self.timeout is None else {**headers, TIMEOUT_HEADER: self.timeout}


def find_cycle(graph: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The tasks of one cycle, the first again at the end: ``("a", "b", "a")``; empty: none.

    Arguments:
        graph: what each task waits for. Tasks that are no keys wait for nothing. Linear in its
            size, and as deep as it may be.
    """
    done: set[str] = set()
    for root in graph:
        if root in done:
            continue
        path: dict[str, Iterator[str]] = {root: iter(graph[root])}  # Keeps its order.
        while path:
            task, rest = next(reversed(path.items()))
            following = next(rest, None)
            if following is None:
                del path[task]
                done.add(task)
            elif following in path:
                names = list(path)
                return (*names[names.index(following) :], following)
            elif following in graph and following not in done:
                path[following] = iter(graph[following])
    return ()


def describe_cycle(cycle: Iterable[str]) -> str:
    """``"a waits for b, which waits for a"``."""
    return ", which waits for ".join(cycle).replace(", which waits for ", " waits for ", 1)


def storable(task_id: str) -> bool:
    """Whether every store can keep a task of that id."""
    if len(task_id) > LONGEST_ID:
        return False
    if task_id.isascii():  # As nearly all are; this is asked for each task that ends.
        return "\0" not in task_id
    return task_id == plain(task_id)


def plain(text: str) -> str:
    """A text as every store can keep it: nothing but Unicode, and no null characters."""
    return text.replace("\0", "?").encode("utf-8", "replace").decode()


def _policy(value: object) -> OnFailure:
    if value is None:
        return OnFailure.FAIL
    try:
        return OnFailure(value)  # type: ignore[arg-type]  # it refuses what it cannot take
    except ValueError:
        expected = "one of " + ", ".join(OnFailure)
        raise InvalidTaskError(ON_FAILURE_HEADER, value, expected) from None


def _timeout(value: object) -> float | None:
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= LONGEST_TIMEOUT:  # type: ignore[operator]
        raise InvalidTaskError(TIMEOUT_HEADER, value, "seconds, as a number above 0")
    return float(value)  # type: ignore[arg-type]
