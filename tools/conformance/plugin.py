"""A pytest plugin for Celery's suite: picks the pool, gives each session servers, keeps a record.

Loaded with ``-p tools.conformance.plugin`` into pytest and into each process of pytest-xdist.
Each such process is a session of Celery's tests, with a worker in a thread of its own. The
tests use fixed queue names and Redis keys, so each session needs servers for itself.

The suite names its pool in the fixture ``celery_worker_pool``, in its own conftest, which wins
over a plugin's fixture; so the plugin answers for that fixture when pytest sets it up.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

#: Environment: the pool as Celery names it; JSON list of [broker, Redis] URLs, one pair for each
#: session; the file for the record.
POOL, SERVERS, RECORD = "CONFORMANCE_POOL", "CONFORMANCE_SERVERS", "CONFORMANCE_RECORD"

#: Tests that race against the worker by themselves, with what is wrong. On both pools they are
#: tried again as Celery's suite does with those that it marks as unsteady.
RACES = {
    "test_task_replacement::test_replaced_task_nesting_level_0": (
        "sends the task first and clears afterwards what the worker's thread notes on receiving it"
    ),
}
ATTEMPTS = 6


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Before the suite's conftest looks for its servers."""
    servers = json.loads(os.environ[SERVERS])
    # A process of pytest-xdist that has crashed is replaced by one with a higher number.
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    broker, redis = servers[number % len(servers)]
    address = urlsplit(redis)
    os.environ["TEST_BROKER"] = broker
    os.environ["TEST_BACKEND"] = redis
    os.environ["REDIS_HOST"] = address.hostname or "localhost"
    os.environ["REDIS_PORT"] = str(address.port or 6379)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(PoolChoice(os.environ[POOL]))
    else:
        config.pluginmanager.register(Recorder(Path(os.environ[RECORD])))


class PoolChoice:
    """In the sessions: the worker runs on ``pool``."""

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self._in_use = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any], request: Any) -> object:
        if fixturedef.argname != "celery_worker_pool":
            return None
        fixturedef.cached_result = (self._pool, fixturedef.cache_key(request), None)
        return self._pool

    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        for item in items:
            if item.nodeid.endswith(tuple(RACES)):
                item.add_marker(pytest.mark.flaky(reruns=ATTEMPTS - 1))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Function) -> Generator[None, Any, Any]:
        """Note which pool the worker has, as it says itself."""
        result = yield
        worker: Any = item.funcargs.get("celery_session_worker")
        if worker is not None:
            kind = type(worker.pool)
            self._in_use = f"{kind.__module__}:{kind.__qualname__}"
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, Any]:
        report = yield
        report.pool_in_use = self._in_use  # Reports take their attributes along to the recorder.
        return report


class Recorder:
    """In the process that hands out the tests: one JSON object per line, written at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_xdist_node_collection_finished(self, node: object, ids: Sequence[str]) -> None:
        self._write(collected=list(ids))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        message = "" if report.outcome in ("passed", "skipped") else str(report.longrepr)
        self._write(
            test=report.nodeid,
            outcome=report.outcome,
            seconds=report.duration,
            message=message,
            pool=getattr(report, "pool_in_use", ""),
        )

    def _write(self, **entry: object) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
