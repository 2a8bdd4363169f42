"""What ``create_worker_manager`` takes, and what it says of anything else."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from celery_workerpool import SettingsError, create_worker_manager
from celery_workerpool.manager import ManagerSettings

NUMBERS = {f.name: f for f in dataclasses.fields(ManagerSettings) if "bounds" in f.metadata}


def refused(**settings: Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        ManagerSettings.make(settings)
    return caught.value


def test_the_defaults_of_the_reference() -> None:
    made = ManagerSettings.make({})
    assert (made.min_workers, made.max_workers, made.max_task_queue_size) == (2, 8, 1000)
    assert (made.task_timeout, made.max_retries, made.retry_delay) == (30.0, 3, 1.0)
    assert (made.max_worker_memory, made.max_tasks_per_worker) == (512 * 2**20, 100)
    assert (made.backpressure_threshold, made.enable_auto_scaling) == (0.9, True)
    assert (made.scale_up_threshold, made.scale_down_threshold) == (0.7, 0.3)
    assert (made.scale_up_cooldown, made.scale_down_cooldown) == (30.0, 60.0)
    assert (made.worker_idle_timeout, made.worker_recycle_threshold) == (300.0, 500)


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_have_bounds(name: str) -> None:
    lowest, highest = NUMBERS[name].metadata["bounds"]
    is_whole = NUMBERS[name].type == "int"
    for wrong in (lowest - 1, highest * 2, math.nan, math.inf, 10**400, "7", None, True):
        error = refused(**{name: wrong})
        assert (error.setting, error.value is wrong) == (name, True)
        assert error.expected.startswith("a whole number of" if is_whole else "a number of")
    if is_whole:
        assert refused(**{name: lowest + 0.5}).setting == name
    others = {"max_workers": 10} if name == "min_workers" else {}
    others |= {"min_workers": 1} if name == "max_workers" else {}
    others |= {"scale_down_threshold": 0.0} if name == "scale_up_threshold" else {}
    value = int(lowest) if is_whole else lowest
    assert getattr(ManagerSettings.make({**others, name: value}), name) == lowest


@pytest.mark.parametrize("name", ["enable_auto_scaling", "enable_debug_logging"])
def test_switches(name: str) -> None:
    for wrong in (1, "yes", None):
        assert refused(**{name: wrong}).expected == "True or False"


@pytest.mark.parametrize("name", ["handler_modules", "custom_modules", "file_roots"])
def test_lists(name: str) -> None:
    for wrong in ("text", 5, [1], [""], [None]):
        error = refused(**{name: wrong})
        assert (error.setting, error.expected) == (name, "a list of text")
    assert getattr(ManagerSettings.make({name: ["a", "b"]}), name) == ("a", "b")
    if name != "file_roots":
        assert refused(**{name: None}).setting == name


def test_fewer_at_most_than_at_least() -> None:
    error = refused(min_workers=5, max_workers=4)
    assert str(error) == "min_workers = 5: expected at most max_workers (4)"
    error = refused(scale_down_threshold=0.8)
    assert str(error) == "scale_down_threshold = 0.8: expected at most scale_up_threshold (0.7)"


def test_a_name_that_does_not_exist() -> None:
    error = refused(max_retry=1)
    assert str(error) == "max_retry = 1: expected a setting that exists; did you mean max_retries?"
    assert str(refused(zzz=1)) == "zzz = 1: expected a setting that exists (see docs/facade.md)"


def test_workers_of_an_app_are_configured_there() -> None:
    with pytest.raises(SettingsError) as caught:
        create_worker_manager(object(), max_workers=4)
    assert str(caught.value) == (
        "max_workers = 4: expected to be set in the configuration of the app's workers"
    )
