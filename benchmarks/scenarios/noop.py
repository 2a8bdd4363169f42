"""Throughput of tasks that do nothing, with 2 children and ignored results.

8,000 tasks wait in the queue when the worker starts. Measured is the time between two marks in
the stream, noticed in the worker's main process, 300 tasks after its start and at its end; and
the CPU time that the main process spent in between. The null pool shows what is left when the
pool costs nothing: the broker's client and Celery's own part.

Held against: 1.4 times prefork on RabbitMQ; on Redis, where kombu's transport takes most of
the time whatever the pool does, 1.15 times prefork and within 12 % of the null pool.
"""

from __future__ import annotations

from ..model import ALL, Broker, Measure, Pool, Scenario, Stage, Target
from ..stream import measure


def run(stage: Stage) -> dict[str, float]:
    with stage.worker() as worker:
        stream = measure(worker, "noop", stage.count(8000, 2000))
    return {"rate": stream.rate, "cpu": stream.cpu}


SCENARIO = Scenario(
    name="noop",
    title="No-op tasks",
    method=__doc__,
    run=run,
    pools=ALL,
    rounds=7,
    measures={
        "rate": Measure(
            "throughput",
            "/s",
            targets=(
                Target(1.4, at_least=True, of=Pool.PREFORK, brokers=(Broker.RABBITMQ,)),
                Target(1.15, at_least=True, of=Pool.PREFORK, brokers=(Broker.REDIS,)),
                Target(0.88, at_least=True, of=Pool.NULL, brokers=(Broker.REDIS,)),
            ),
        ),
        "cpu": Measure("main process, CPU per task", "µs"),
    },
)
