"""Errors form one tree, say what to do, and survive the way between processes."""

from __future__ import annotations

import copy
import pickle

import pytest

import celery_workerpool
from celery_workerpool import errors
from celery_workerpool.errors import (
    DependencyFailedError,
    EmbeddedError,
    ForkServerLost,
    InvalidTaskError,
    ManagerClosed,
    MemoryLimitExceeded,
    MissingLibraryError,
    NoDependencyStore,
    PathRefused,
    PoisonTaskError,
    QueueFullError,
    ResultNotPlain,
    SettingsError,
    TaskCancelled,
    TaskDataError,
    TaskFailed,
    WorkerPoolError,
    WorkerShuttingDown,
)

EXAMPLES = [
    SettingsError("workerpool_priority_aging", -1, "a number above 0"),
    InvalidTaskError("timelimit", "soon", "seconds, as a number of at least 0, or None"),
    MissingLibraryError("IMAGE_MANIPULATION", "Pillow", "images"),
    TaskDataError("not an image"),
    PathRefused("/etc/shadow is outside of the file roots"),
    TaskCancelled("task t-1: cancelled"),
    TaskFailed("task t-1: rejected"),
    QueueFullError(1000, 1000),
    ManagerClosed("the manager was shut down; create another"),
    EmbeddedError("no Valkey or Redis to start"),
    DependencyFailedError("task t-1, which this one waits for, failed: boom", "t-1"),
    NoDependencyStore("there is nowhere to keep it"),
    MemoryLimitExceeded("Memory limit of 100.0 MiB exceeded"),
    PoisonTaskError("killed its child 3 times, 3 allowed"),
    ResultNotPlain("shop.Order"),
    WorkerShuttingDown("the worker stops"),
    ForkServerLost("end of file"),
]


def test_there_is_an_example_of_each() -> None:
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, WorkerPoolError)
    }
    assert {type(example) for example in EXAMPLES} == defined - {WorkerPoolError}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_it_survives_pickling_and_copying(error: WorkerPoolError) -> None:
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert vars(other) == vars(error)


@pytest.mark.parametrize("kind", [SettingsError, InvalidTaskError])
def test_bad_values_are_value_errors_that_name_what_came_and_what_is_expected(
    kind: type[SettingsError | InvalidTaskError],
) -> None:
    error = kind("size", "many", "a number")
    assert isinstance(error, ValueError)
    assert str(error) == "size = 'many': expected a number"


def test_a_missing_library_is_named_with_what_installs_it() -> None:
    error = MissingLibraryError("IMAGE_MANIPULATION", "Pillow", "images")
    assert str(error) == (
        "IMAGE_MANIPULATION needs Pillow, which is not installed: "
        'pip install "celery_workerpool[images]"'
    )


def test_a_full_queue_says_how_full_and_which_setting_says_so() -> None:
    assert str(QueueFullError(7, 5)) == "7 tasks have not ended yet, 5 may (max_task_queue_size)"


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_the_tree_at_the_top_of_the_file_is_complete(error: WorkerPoolError) -> None:
    assert f"── {type(error).__name__} " in str(errors.__doc__)


def test_what_the_package_offers_is_there() -> None:
    for name in celery_workerpool.__all__:
        assert getattr(celery_workerpool, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'WorkerPol'"):
        celery_workerpool.WorkerPol  # noqa: B018


def test_an_invalid_task_s_error_reads_well_where_only_its_arguments_are_kept() -> None:
    error = InvalidTaskError("timelimit", "x", "[hard, soft] in seconds")
    assert error.args == ("timelimit = 'x': expected [hard, soft] in seconds",)
    again = InvalidTaskError(*error.args)  # As a result backend makes it.
    assert str(again) == str(error)
