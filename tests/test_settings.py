"""Settings are checked once, at the start, and say what is wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import MappingProxyType

import pytest
from celery import Celery

from celery_workerpool.errors import SettingsError
from celery_workerpool.settings import Settings

NAN, INF = float("nan"), float("inf")


def test_the_defaults_are_valid_and_nothing_surprising() -> None:
    settings = Settings.from_mapping({})
    assert settings == Settings()
    assert settings.memory_kill_ratio is None
    assert settings.start_timeout is None


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().priority_aging = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("priority_aging", 0.001),
        ("priority_aging", 30),
        ("memory_sample_interval", 0.01),
        ("memory_kill_ratio", 1),
        ("memory_kill_ratio", None),
        ("start_timeout", 0.1),
        ("start_timeout", None),
        ("heartbeat_interval", 0.05),
        ("heartbeat_interval", None),
        ("health_check_interval", 0.1),
        ("loop_lag_threshold", None),
        ("terminate_grace", 0),
        ("shutdown_timeout", 0),
        ("give_back_after", 0.1),
        ("give_back_after", None),
        ("redeliver_after", 1),
        ("redeliver_after", None),
        ("health_port", 0),
        ("health_port", 65535),
        ("health_port", None),
        ("max_crashes_per_task", 1),
        ("max_crashes_per_task", None),
    ],
)
def test_the_edge_of_what_is_allowed(name: str, value: float | None) -> None:
    settings = Settings.from_mapping({f"workerpool_{name}": value})
    assert getattr(settings, name) == value


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("priority_aging", 0, "a number above 0"),
        ("priority_aging", -1.0, "a number above 0"),
        ("priority_aging", None, "a number above 0"),
        ("priority_aging", "30", "a number above 0"),
        ("priority_aging", True, "a number above 0"),
        ("priority_aging", NAN, "a number above 0"),
        ("priority_aging", INF, "a number above 0"),
        ("memory_sample_interval", 0.009, "a number of at least 0.01"),
        ("memory_sample_interval", None, "a number of at least 0.01"),
        ("memory_sample_interval", [1.0], "a number of at least 0.01"),
        ("memory_kill_ratio", 0.99, "a number of at least 1 or None"),
        ("give_back_after", 0, "a number of at least 0.1 or None"),
        ("redeliver_after", 0.5, "a number of at least 1 or None"),
        ("health_port", 65536, "a whole number of at least 0, at most 65535 or None"),
        ("health_file", "run/health", "an absolute path or None"),
        ("health_host", "localhost", "an IP address"),
        ("health_host", 5, "an IP address"),
        ("health_host", None, "an IP address"),
        ("handler_modules", None, "a list of text"),
        ("file_roots", Path("/srv"), "a list of text"),
        ("custom_modules", 5, "a list of text"),
        ("stuck_after", 0.5, "a number of at least 1"),
        ("max_crashes_per_task", 0, "a whole number of at least 1 or None"),
        ("max_crashes_per_task", 2.0, "a whole number of at least 1 or None"),
        ("max_crashes_per_task", True, "a whole number of at least 1 or None"),
        ("heartbeat_interval", 0.04, "a number of at least 0.05 or None"),
        ("health_check_interval", 0, "a number above 0"),
        ("unhealthy_policy", "shoot", "one of report, kill"),
        ("unhealthy_policy", None, "one of report, kill"),
        ("loop_lag_threshold", 0, "a number above 0 or None"),
        ("memory_kill_ratio", "1.5", "a number of at least 1 or None"),
        ("memory_kill_ratio", NAN, "a number of at least 1 or None"),
        ("start_timeout", 0, "a number above 0 or None"),
        ("start_timeout", False, "a number above 0 or None"),
        ("start_timeout", INF, "a number above 0 or None"),
        ("terminate_grace", -0.1, "a number of at least 0"),
        ("terminate_grace", NAN, "a number of at least 0"),
        ("terminate_grace", None, "a number of at least 0"),
    ],
)
def test_what_is_wrong_is_refused_with_what_is_expected(
    name: str, value: object, expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping({f"workerpool_{name}": value})
    assert str(caught.value) == f"workerpool_{name} = {value!r}: expected {expected}"


def test_every_number_has_a_bound() -> None:
    """A new setting cannot be forgotten: none of them takes a word."""
    for field in dataclasses.fields(Settings):
        with pytest.raises(SettingsError, match=field.name):
            Settings(**{field.name: "soon"})


def test_a_misspelt_setting_gets_a_hint() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping({"workerpool_priority_ageing": 10})
    assert str(caught.value) == (
        "workerpool_priority_ageing = 10: expected a setting that exists; "
        "did you mean workerpool_priority_aging?"
    )


def test_an_unknown_setting_that_is_like_none_is_told_where_they_are() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping({"workerpool_zzz": 1})
    assert str(caught.value) == (
        "workerpool_zzz = 1: expected a setting that exists (see docs/settings.md)"
    )


def test_other_settings_are_none_of_ours() -> None:
    conf = {"worker_pool": "x", "broker_url": "y", "workerpool_terminate_grace": 1.5}
    assert Settings.from_mapping(MappingProxyType(conf)).terminate_grace == 1.5


@pytest.mark.parametrize(
    ("namespace", "key"),
    [
        (None, "workerpool_priority_aging"),
        ("CELERY", "CELERY_WORKERPOOL_PRIORITY_AGING"),
        ("JOBS", "JOBS_WORKERPOOL_PRIORITY_AGING"),
    ],
    ids=["plain", "django", "another namespace"],
)
def test_settings_are_found_in_any_namespace(namespace: str | None, key: str) -> None:
    app = Celery("settings", set_as_current=False)
    source = type("conf", (), {key: 7.0, "CELERY_TASK_ACKS_LATE": True})
    app.config_from_object(source, namespace=namespace)
    assert app.conf.worker_pool  # Celery reads the source on first use; a worker has done so.
    assert Settings.of_app(app).priority_aging == 7.0
