from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from celery_workerpool import WorkerTaskType as T
from celery_workerpool.errors import TaskDataError
from celery_workerpool.handlers import TaskContext

from .support import do, refusal


@pytest.fixture(autouse=True)
def _shop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module ``shop.jobs`` as an application has one."""
    code = """
import os
from subprocess import run
def price(amount, *, tax=0.0):
    return round(amount * (1 + tax), 2)
def whoami(ctx):
    return ctx.task_id
def fail():
    raise KeyError("no such order")
def _private():
    return 1
NUMBER = 5
"""
    for name in ("shop", "shop.jobs", "shop.jobs.deep"):
        module = types.ModuleType(name)
        exec(code, module.__dict__)
        monkeypatch.setitem(sys.modules, name, module)


def call(
    function: str, *args: Any, modules: tuple[str, ...] = ("shop.jobs",), **kwargs: Any
) -> Any:
    payload = {"function": function, "args": list(args), "kwargs": kwargs}
    return do(T.CUSTOM, payload, modules=modules, task_id="task-1")


def test_a_function_is_called() -> None:
    assert call("shop.jobs.price", 10) == 10
    assert call("shop.jobs.price", 10, tax=0.2) == 12


def test_a_function_may_ask_for_the_context() -> None:
    assert call("shop.jobs.whoami") == "task-1"


def test_what_it_raises_is_its_own() -> None:
    with pytest.raises(KeyError, match="no such order"):
        call("shop.jobs.fail")


def test_a_package_may_be_allowed_with_all_below_it() -> None:
    assert call("shop.jobs.deep.price", 1, modules=("shop.*",)) == 1
    assert call("shop.price", 1, modules=("shop.*",)) == 1


@pytest.mark.parametrize(
    "function",
    [
        "os.system",
        "shop.price",
        "shop.jobs.deep.price",
        "shop.jobs.os.system",
        "shop.jobsx.price",
        "shop.jobs._private",
        "shop.jobs.price.__call__",
        "price",
        ".price",
        "shop.jobs.",
        "shop.jobs.price()",
        "",
    ],
)
def test_what_the_settings_do_not_allow_is_refused_before_it_is_sent(function: str) -> None:
    message = refusal(T.CUSTOM, {"function": function}, modules=["shop.jobs"])
    assert message.startswith(f"payload.function = {function!r}: expected ")


@pytest.mark.parametrize("name", ["run", "os", "NUMBER", "absent"])
def test_what_a_module_imported_for_itself_is_not_offered(name: str) -> None:
    with pytest.raises(TaskDataError, match="has no such function"):
        call(f"shop.jobs.{name}")


def test_a_module_may_say_what_it_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["shop.jobs"], "__all__", ["whoami"], raising=False)
    assert call("shop.jobs.whoami") == "task-1"
    with pytest.raises(TaskDataError):
        call("shop.jobs.price", 1)


def test_modules_that_are_not_there() -> None:
    with pytest.raises(TaskDataError, match=r"no module 'nowhere\.jobs' in PYTHONPATH"):
        call("nowhere.jobs.price", modules=("nowhere.*",))


def test_arguments_that_do_not_fit() -> None:
    with pytest.raises(TaskDataError, match=r"shop\.jobs\.price: missing a required argument"):
        call("shop.jobs.price")


def test_a_name_that_is_not_registered() -> None:
    with pytest.raises(TaskDataError, match="no function is registered as 'x'"):
        do(T.CUSTOM, {"name": "x"})


def test_the_worker_looks_again() -> None:
    from celery_workerpool.handlers.custom import Call, call

    with pytest.raises(TaskDataError, match=r"that the settings allow \(none\)"):
        call(
            Call.model_construct(function="os.getpid", args=[], kwargs={}, name=None), TaskContext()
        )
