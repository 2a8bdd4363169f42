"""What the gate reads of tasks in the result backend."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import Celery

from celery_workerpool.errors import DependencyFailedError
from celery_workerpool.gate.records import Ending, EndKind
from celery_workerpool.gate.refusals import reason_of
from celery_workerpool.gate.results import LONGEST_ERROR, Results, _text


class NoText(Exception):
    """Its text needs what only its first owner has."""

    def __repr__(self) -> str:
        return f"NoText({self.missing})"  # type: ignore[attr-defined]


class OddText(Exception):
    """Its text is nothing that a database can keep."""

    def __repr__(self) -> str:
        return "\0" + "x" * 10 * LONGEST_ERROR


@pytest.fixture
def app(tmp_path: Path) -> Celery:
    return Celery("results", backend=f"db+sqlite:///{tmp_path / 'results.db'}")


def test_the_ends_of_those_that_have_ended(app: Celery) -> None:
    app.backend.store_result("done", 5, "SUCCESS")
    app.backend.store_result("failed", ValueError("no"), "FAILURE")
    app.backend.store_result("runs", None, "STARTED")
    found = Results(app).look(["done", "failed", "runs", "unknown"])
    assert sorted(found, key=lambda end: end.id) == [
        Ending("done", EndKind.DONE),
        Ending("failed", EndKind.FAILED, "ValueError('no')"),
    ]


def test_an_error_is_text_that_can_be_kept_whatever_its_class_does(app: Celery) -> None:
    app.backend.store_result("no", NoText("x"), "FAILURE")
    app.backend.store_result("odd", OddText("x"), "FAILURE")
    no, odd = Results(app).look(["no", "odd"])
    assert no.error == "x"
    assert odd.error == "?" + "x" * (LONGEST_ERROR - 1)


def test_a_task_that_was_not_run_passes_the_first_reason_on(app: Celery) -> None:
    """In the words of the worker where it happens: who is first depends on chance."""
    error = DependencyFailedError("task a, for which this one waited, failed: ValueError('no')")
    app.backend.store_result("next", error, "FAILURE")
    (end,) = Results(app).look(["next"])
    assert end.error == reason_of(error) == "not run, since task a failed: ValueError('no')"
    plain = {"exc_type": "DependencyFailedError", "exc_message": [str(error)]}
    assert _text(EndKind.FAILED, plain) == end.error
