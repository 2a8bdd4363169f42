"""Everything this package raises on purpose.

WorkerPoolError
├── SettingsError          a setting is unknown, of the wrong type or out of range
├── InvalidTaskError       a task's own options cannot be understood; only that task fails
│   └── MissingLibraryError  its task type needs an optional library that is not installed
├── TaskDataError          what a task was given cannot be processed; trying again is no use
│   └── PathRefused        a path leads out of the file roots, or to what is no regular file
├── TaskCancelled          a handler saw that its task is not wanted any more and stopped
├── WorkerShuttingDown     raised in a task that wants to know that its worker stops
├── QueueFullError         too many tasks have not ended yet; nothing was sent
├── TaskFailed             a task failed, and nothing more exact is known of its error
├── ManagerClosed          the manager was shut down
├── EmbeddedError          the private broker or worker of embedded mode cannot run
├── DependencyFailedError  a task that this one waited for did not succeed; it was not run
├── NoDependencyStore      a task is to wait for others, and there is nowhere to keep it
├── MemoryLimitExceeded    the task's child outgrew the memory limit and was killed
├── PoisonTaskError        a task killed its child too often; it is not run again
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
    """An option or header of one task is wrong; says which, what came and what is expected.

    Its only argument is the text, so that it reads well wherever it is stored, and by clients
    that do not have this package; there it has no other attributes.
    """

    option: str
    value: object
    expected: str

    def __init__(self, option: str, value: object = None, expected: str = "") -> None:
        super().__init__(self._text(option, value, expected) if expected else option)
        if expected:
            self.option, self.value, self.expected = option, value, expected

    @staticmethod
    def _text(option: str, value: object, expected: str) -> str:
        return f"{option} = {value!r}: expected {expected}"


class MissingLibraryError(InvalidTaskError):
    """The task's type needs an optional library that is not installed; says how to get it."""

    library: str
    extra: str

    def __init__(self, task_type: str, library: str = "", extra: str = "") -> None:
        super().__init__(task_type, library, extra)
        if extra:
            self.library, self.extra = library, extra

    @staticmethod
    def _text(option: str, value: object, expected: str) -> str:
        return (
            f"{option} needs {value}, which is not installed: "
            f'pip install "celery_workerpool[{expected}]"'
        )


class TaskDataError(WorkerPoolError, ValueError):
    """What a task was given cannot be processed: not an image, a wrong key, a file too large.

    Permanent: the same task fails in the same way again.
    """


class PathRefused(TaskDataError):
    """A path leads out of the file roots, or to something that is no regular file."""


class TaskCancelled(WorkerPoolError):
    """A handler saw that its task is not wanted any more, removed its output and stopped."""


class WorkerShuttingDown(WorkerPoolError):
    """The worker stops; raised inside of ``shutdown_notice()``, where the task asked for it."""


class QueueFullError(WorkerPoolError):
    """``max_task_queue_size`` tasks have not ended yet; wait for some, then submit again.

    ``count`` includes what other processes had in the same queues, and in workers that have
    fetched it from there, a second or two ago.
    """

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(count, limit)
        self.count = count
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.count} tasks have not ended yet, {self.limit} may (max_task_queue_size)"


class TaskFailed(WorkerPoolError):
    """A task failed, and the result backend has no exception of it."""


class ManagerClosed(WorkerPoolError):
    """The manager was shut down; create another."""


class EmbeddedError(WorkerPoolError):
    """The broker or the worker of embedded mode could not be started, or has ended; says why."""


class DependencyFailedError(WorkerPoolError):
    """A task was not run because one that it waited for did not succeed; says which, and why.

    Its only argument is the text; see :class:`InvalidTaskError`.

    Attributes:
        dependency: the id of the task that is to blame; several, with commas between, where
            nothing was heard of them.
    """

    dependency: str

    def __init__(self, text: str, dependency: str = "") -> None:
        super().__init__(text)
        if dependency:
            self.dependency = dependency


class NoDependencyStore(WorkerPoolError):
    """A task names dependencies, and there is nowhere to keep it until they are done."""

    def __init__(
        self,
        text: str = "there is nowhere to keep a task that waits for others: set "
        "workerpool_gate_store, or keep results in Redis or an SQL database",
    ) -> None:
        super().__init__(text)


class MemoryLimitExceeded(WorkerPoolError):
    """The child that ran the task was killed because it outgrew ``memory_kill_ratio``."""


class PoisonTaskError(WorkerPoolError):
    """The task killed its child ``workerpool_max_crashes_per_task`` times; it is not run again.

    Its message is in quarantine (``celery workerpool quarantine``), from where it can be sent
    again.
    """


class ResultNotPlain(WorkerPoolError):
    """The result of a bare function was an object, and the pool takes plain data only."""


class ForkServerLost(WorkerPoolError):
    """The process that starts children ended; the pool starts another."""


def described(exc: BaseException) -> str:
    """An error of some library's, for a line of a log; the ``repr`` of some tells little."""
    try:
        text = str(exc).partition("\n")[0]
    except Exception:  # Whatever it is, its kind is known.
        text = ""
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__
