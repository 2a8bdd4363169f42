"""What the gate reads of tasks in the result backend."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from celery import Celery
from kombu.utils.json import dumps, loads
from sqlalchemy import Engine, event, text

from celery_workerpool.errors import DependencyFailedError
from celery_workerpool.gate.records import Ending, EndKind
from celery_workerpool.gate.refusals import reason_of
from celery_workerpool.gate.results import LONGEST_ERROR, Results, _text
from celery_workerpool.stored import SuccessfulResults, get_many


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


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_a_result_that_cannot_be_read_ends_those_alone_that_wait_for_it(
    app: Celery, redis_url: str
) -> None:
    other = Celery("other", backend=redis_url, set_as_current=False)
    names = [f"{name}-{uuid.uuid4().hex}" for name in ("good", "no-data", "no-record")]
    other.backend.store_result(names[0], 5, "SUCCESS")
    key = other.backend.get_key_for_task
    for name, value in zip(names[1:], (b"\x80no", b"[1]"), strict=True):
        other.backend.client.set(key(name), value)
    good, *bad = Results(other).look(names)
    other.backend.client.close()
    assert good == Ending(names[0])
    assert [end.kind for end in bad] == [EndKind.FAILED, EndKind.FAILED]
    assert all(end.error.startswith("its result cannot be read: ") for end in bad)

    app.backend.store_result("good", 5, "SUCCESS")
    app.backend.store_result("bad", ValueError("no"), "FAILURE")
    with app.backend.ResultSession() as session:
        session.execute(text("update celery_taskmeta set result = 'no data'"))
        session.commit()
    good, failed = sorted(Results(app).look(["good", "bad"]), key=lambda end: end.kind)
    assert good == Ending("good"), "what it returned is of no interest"
    assert (failed.kind, failed.error.startswith("its result cannot")) == (EndKind.FAILED, True)
    app.backend.ResultSession = None  # As if there were no database.
    with pytest.raises(TypeError):
        Results(app).look(["good"])


def test_a_database_is_asked_once_for_many(app: Celery) -> None:
    app.conf.result_extended = True
    backend = app._get_backend()
    for name in ("a", "b"):
        backend.store_result(name, {"of": name}, "SUCCESS")
    backend.store_result("c", ValueError("no"), "FAILURE")
    asked: list[str] = []

    @event.listens_for(Engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    try:
        found = get_many(backend, ["c", "nobody", "a", "b"])
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len([statement for statement in asked if "FROM celery_taskmeta" in statement]) == 1
    assert list(found) == ["c", "a", "b"]
    for name, meta in found.items():
        one = backend.get_task_meta(name, cache=False)
        assert {key: str(one[key]) for key in meta} == {k: str(v) for k, v in meta.items()}
    assert dict(SuccessfulResults(backend, ["a", "c", "b"])) == {
        "a": {"of": "a"},
        "b": {"of": "b"},
    }
    assert loads(dumps({"returned": SuccessfulResults(backend, ["a"])})) == {
        "returned": {"a": {"of": "a"}}
    }


def test_a_task_that_was_not_run_passes_the_first_reason_on(app: Celery) -> None:
    """In the words of the worker where it happens: who is first depends on chance."""
    error = DependencyFailedError("task a, for which this one waited, failed: ValueError('no')")
    app.backend.store_result("next", error, "FAILURE")
    (end,) = Results(app).look(["next"])
    assert end.error == reason_of(error) == "not run, since task a failed: ValueError('no')"
    plain = {"exc_type": "DependencyFailedError", "exc_message": [str(error)]}
    assert _text(EndKind.FAILED, plain) == end.error
