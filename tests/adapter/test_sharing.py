"""The step that has tasks move to idle workers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celery_workerpool import WorkerPool
from celery_workerpool.adapter.sharing import SharingStep
from celery_workerpool.settings import Settings


def included(pool: Any = None, hub: Any = "a loop", control: bool = True) -> bool:
    conf = SimpleNamespace(worker_enable_remote_control=control)
    consumer = SimpleNamespace(
        pool=pool or ours(), hub=hub, app=SimpleNamespace(conf=conf, steps={})
    )
    return SharingStep.include_if(object.__new__(SharingStep), consumer)


def ours(**settings: Any) -> WorkerPool:
    pool = object.__new__(WorkerPool)
    pool.settings = Settings(**settings)
    return pool


def test_it_is_there_unless_somebody_does_not_want_it() -> None:
    assert included()
    assert not included(ours(give_back_after=None))
    assert not included(control=False)


@pytest.mark.parametrize(("pool", "hub"), [(object(), "a loop"), (None, None)])
def test_it_is_not_there_on_other_pools_and_without_a_loop(pool: Any, hub: Any) -> None:
    assert not included(pool, hub)
