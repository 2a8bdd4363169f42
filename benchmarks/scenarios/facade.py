"""What the facade costs who submits, and how soon workers answer it.

One process submits CUSTOM tasks that nobody runs, with ignored results, so that nothing but the
sending is measured: 1,500 by ``apply_async`` of the facade's own task, then by ``submit_task``,
in turns of 100; then 10,000 by a loop of ``apply_async`` and by one ``submit_many``. Then a
worker with 2 children is started on an empty queue and asked 30 times for its figures.

Held against: ``submit_task`` at most 1.3 times a bare ``apply_async``; ``submit_many`` three
times as fast as the loop; an answer within 100 ms at the median.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from celery_workerpool import WorkerManager, create_worker_manager
from celery_workerpool.stored import TASK

from ..model import Measure, Pool, Scenario, Stage, Target

CONF = {"include": ["celery_workerpool.tasks"], "workerpool_custom_modules": ["operator"]}
CALL = {"function": "operator.add", "args": [1, 2]}


def run(stage: Stage) -> dict[str, float]:
    with stage.worker(conf={**CONF, "task_send_sent_event": False}) as worker:
        worker.app.finalize()
        bare = worker.app.tasks[TASK].apply_async
        with create_worker_manager(worker.app, max_task_queue_size=10**6) as manager:
            try:
                singly = _singly(bare, manager, stage.count(1500, 300))
                at_once = _at_once(bare, manager, stage.count(10_000, 1000))
            finally:
                manager.shutdown(wait=False)
        worker.purge()
        worker.start()
        with create_worker_manager(worker.app) as manager:
            answer = _answer(manager)
    return {"submit": singly, "many": at_once, "answer": answer}


def _singly(bare: Callable[..., Any], manager: WorkerManager, count: int) -> float:
    """``submit_task`` as a multiple of ``apply_async``."""
    spent = {"bare": 0.0, "facade": 0.0}
    for _ in range(count // 100):
        spent["bare"] += _time(100, lambda: bare(("CUSTOM", CALL), ignore_result=True))
        spent["facade"] += _time(100, lambda: manager.submit_task("CUSTOM", CALL))
    return spent["facade"] / spent["bare"]


def _at_once(bare: Callable[..., Any], manager: WorkerManager, count: int) -> float:
    """How many times faster ``submit_many`` is than a loop of ``apply_async``."""
    loop = _time(count, lambda: bare(("CUSTOM", CALL), ignore_result=True))
    return loop / _time(1, lambda: manager.submit_many([("CUSTOM", CALL)] * count))


def _answer(manager: WorkerManager) -> float:
    """Seconds at the median; a worker that has not been heard of yet is waited for."""
    while manager.get_metrics().total_workers < 2:
        time.sleep(0.1)
    return statistics.median(_time(1, manager.get_metrics) for _ in range(30))


def _time(count: int, do: Callable[[], object]) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        do()
    return time.perf_counter() - begin


SCENARIO = Scenario(
    name="facade",
    title="The facade",
    method=__doc__,
    run=run,
    pools=(Pool.WORKERPOOL,),
    rounds=5,
    measures={
        "submit": Measure("submit_task, of apply_async", "×", (Target(1.3, at_least=False),)),
        "many": Measure("submit_many, faster by", "×", (Target(3.0, at_least=True),)),
        "answer": Measure("get_metrics answers in", "s", (Target(0.1, at_least=False),)),
    },
)
