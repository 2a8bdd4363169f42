"""Tasks that wait for others where results are kept in PostgreSQL, and without any store."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
import sqlalchemy
from celery import states

from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_graph_in_postgresql(make_worker: Workers, postgresql_url: str) -> None:
    # A database of its own: other tests use the same server.
    name = f"d{uuid.uuid4().hex}"
    server = sqlalchemy.create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    server.dispose()
    url = f"db+{postgresql_url.rpartition('/')[0]}/{name}"
    with make_worker(conf={"result_backend": url}) as worker:
        parts = [worker.send("add", i, i) for i in range(20)]
        headers = {"dependencies": [part.id for part in parts]}
        middle = [worker.send("add", i, 1, headers=headers) for i in range(5)]
        broken = worker.send("raises", "no tea", headers=headers)
        last = worker.send("add", 3, 4, headers={"dependencies": [task.id for task in middle]})
        failing = worker.send("add", 1, 1, headers={"dependencies": [broken.id, last.id]})
        assert last.get(timeout=30) == 7
        wait_until(lambda: worker.state(failing) == states.FAILURE, "the end of what must fail")
        assert broken.id in str(failing.result)
        late = worker.send(
            "add", 5, 5, headers={"dependencies": [last.id, *headers["dependencies"]]}
        )
        assert late.get(timeout=30) == 10
        worker.wait_until_idle()
    worker.app.backend.ResultSession().get_bind().dispose()


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_without_a_store_only_what_has_dependencies_fails(
    make_worker: Workers, redis_url: str
) -> None:
    with make_worker(conf={"result_backend": "rpc://"}) as worker:
        worker.wait_for_log("Tasks with dependencies fail here: workerpool_gate_store is not set")
        fails = worker.send("add", 1, 1, headers={"dependencies": ["somebody"]})
        assert worker.send("add", 1, 2).get(timeout=30) == 3
        with pytest.raises(Exception, match="there is nowhere to keep a task that waits"):
            fails.get(timeout=30)


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_store_that_cannot_be_used_is_refused_at_the_start(make_worker: Workers) -> None:
    worker = make_worker(conf={"workerpool_gate_store": "gopher://x"})
    worker.start(ready=False)
    assert worker.wait() != 0
    assert "Error: workerpool_gate_store = 'gopher://x': expected redis://" in worker.log
    assert "Traceback" not in worker.log
