"""Which of Celery's tests are run."""

from __future__ import annotations

from dataclasses import dataclass

FOLDER = "t/integration"

#: What says something about a pool: tasks run, workers start, a worker tells of itself, canvas.
MODULES = ("test_tasks", "test_worker", "test_inspect", "test_canvas")
#: What CI runs.
QUICK = ("test_tasks", "test_inspect")


@dataclass(frozen=True, slots=True)
class Selection:
    """What one run of the suite takes from it.

    Attributes:
        paths: modules or single tests, as pytest takes them.
        keyword: pytest's ``-k``; empty for all.
    """

    paths: tuple[str, ...]
    keyword: str = ""


def modules(*, quick: bool = False, keyword: str = "") -> Selection:
    """The whole suite, or the part of it that CI runs."""
    names = QUICK if quick else MODULES
    return Selection(tuple(f"{FOLDER}/{name}.py" for name in names), keyword)


def module_of(nodeid: str) -> str:
    """``test_tasks`` for ``t/integration/test_tasks.py::test_tasks::test_retry``."""
    return nodeid.partition("::")[0].rpartition("/")[2].removesuffix(".py")
