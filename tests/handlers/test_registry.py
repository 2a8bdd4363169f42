"""Handlers of one's own, and functions registered by name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from celery_workerpool import SettingsError
from celery_workerpool import WorkerTaskType as T
from celery_workerpool.handlers import TaskContext, find, function, handler, load, registry, run

from .support import do


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_handlers", {})
    monkeypatch.setattr(registry, "_functions", {})
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("_workerpool_handlers_"):
            del sys.modules[name]


def test_a_handler_of_ones_own_replaces_the_built_in_one() -> None:
    @handler(T.DATA_PROCESSING)
    def process(payload: dict[str, list[int]], ctx: TaskContext) -> dict[str, object]:
        return {"processed": [item + 1 for item in payload["data"]], "attempt": ctx.attempt}

    result = do(T.DATA_PROCESSING, {"data": [1, 2]}, attempt=2)
    assert result == {"processed": [2, 3], "attempt": 2}
    assert process({"data": [0]}, TaskContext()) == {"processed": [1], "attempt": 1}


def test_importing_the_built_in_module_does_not_take_it_back() -> None:
    @handler(T.FILE_IO)
    def mine(payload: object, ctx: TaskContext) -> str:
        return "mine"

    importlib.reload(importlib.import_module("celery_workerpool.handlers.file_io"))
    assert run(T.FILE_IO, {}, TaskContext()) == "mine"


def test_every_type_has_a_built_in_handler() -> None:
    for kind in T:
        assert find(kind).type is kind


def test_a_script_is_loaded_once(tmp_path: Path) -> None:
    script = tmp_path / "worker-custom.py"
    script.write_text(
        "from celery_workerpool import WorkerTaskType\n"
        "from celery_workerpool.handlers import handler\n"
        "LOADED = []\n"
        "@handler(WorkerTaskType.CUSTOM)\n"
        "def process(payload, ctx):\n"
        "    if 'data' not in payload:\n"
        "        raise ValueError('Invalid payload')\n"
        "    return {'processed': [dict(item, processed=True) for item in payload['data']]}\n"
    )
    load([str(script)])
    before = find(T.CUSTOM)
    load([str(script)])
    assert find(T.CUSTOM) is before
    assert do(T.CUSTOM, {"data": [{"id": 1}]}) == {"processed": [{"id": 1, "processed": True}]}
    with pytest.raises(ValueError, match="Invalid payload"):
        do(T.CUSTOM, {})


def test_modules_that_cannot_be_loaded(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0\n")
    with pytest.raises(SettingsError, match=r"handler_modules = .*\(ZeroDivisionError: division"):
        load([str(broken)])
    with pytest.raises(SettingsError, match="No module named 'no_such_module'"):
        load(["no_such_module"])
    with pytest.raises(SettingsError, match="FileNotFoundError"):
        load([str(tmp_path / "absent.py")])


def test_functions_by_name() -> None:
    @function("double")
    def double(number: int) -> int:
        return 2 * number

    assert do(T.CUSTOM, {"name": "double", "args": [4]}) == 8
    assert do(T.CUSTOM, {"name": "double", "kwargs": {"number": 5}}) == 10
