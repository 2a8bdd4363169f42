"""Which of Celery's tests are run."""

from __future__ import annotations

from dataclasses import dataclass, replace

FOLDER = "t/integration"

#: What says something about a pool: tasks run, workers start, a worker tells of itself, canvas.
MODULES = ("test_tasks", "test_worker", "test_inspect", "test_canvas")
#: What CI runs.
QUICK = ("test_tasks", "test_inspect")


#: Its tests build workers in pytest's own process and leave it unfit for others: on any pool,
#: ``result.get()`` raises there afterwards. So no other module's tests run in that process.
APART = ("test_worker",)
#: Left out unless asked for: seconds on prefork, one session, on a busy machine of two cores.
#: They are 370 of 1200 seconds of test_canvas, most of it spent in waiting for results that do
#: not come (10 s for each of many subtests); the last one is marked by Celery as failing.
SLOW = {
    "test_canvas.py::test_chord::test_disabling_flag_allow_error_cb_on_chord_header": 149,
    "test_canvas.py::test_chord::test_enabling_flag_allow_error_cb_on_chord_header": 88,
    "test_canvas.py::test_chord::test_flag_allow_error_cb_on_chord_header_on_upgraded_chord": 68,
    "test_canvas.py::test_chord::test_error_propagates_from_chord": 61,
}


@dataclass(frozen=True, slots=True)
class Selection:
    """What one run of the suite takes from it.

    Attributes:
        paths: modules or single tests, as pytest takes them.
        keyword: pytest's ``-k``; empty for all.
        without: node ids of tests to leave out.
    """

    paths: tuple[str, ...]
    keyword: str = ""
    without: tuple[str, ...] = ()

    def parts(self) -> list[Selection]:
        """What may share processes, each for a run of pytest of its own."""
        apart = [path for path in self.paths if module_of(path) in APART]
        together = [path for path in self.paths if module_of(path) not in APART]
        return [replace(self, paths=tuple(paths)) for paths in (together, apart) if paths]


def modules(*, quick: bool = False, slow: bool = False, keyword: str = "") -> Selection:
    """The whole suite, or the part of it that CI runs; ``slow``: also what takes minutes."""
    names = QUICK if quick else MODULES
    paths = tuple(f"{FOLDER}/{name}.py" for name in names)
    return Selection(paths, keyword, () if slow else tuple(f"{FOLDER}/{one}" for one in SLOW))


def module_of(nodeid: str) -> str:
    """``test_tasks`` for ``t/integration/test_tasks.py::test_tasks::test_retry``."""
    return nodeid.partition("::")[0].rpartition("/")[2].removesuffix(".py")
