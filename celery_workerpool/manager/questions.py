"""What workers answer about themselves, added up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..metrics import Histogram, Ledger, Outcome
from ..types import TaskPriority


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of durations in seconds; None where there are none."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Metrics:
    """All workers of the app that answered, as one. Times in seconds, shares from 0 to 1."""

    total_workers: int  # children
    active_workers: int
    idle_workers: int
    unhealthy_workers: int  # neither starting, idle nor busy: without a sign of life, or ending
    pending_tasks: int  # in workers, not yet in a child
    running_tasks: int
    completed_tasks: int
    failed_tasks: int
    average_task_duration: float
    average_queue_time: float  # in the worker
    throughput: float  # tasks per second, over the last minute
    cpu_utilization: float  # of the machines, since somebody asked before
    memory_utilization: float  # of the machines' memory, by children
    queue_time: Mapping[str, Percentiles]  # by priority
    queue_time_by_type: Mapping[str, Percentiles]  # as duration
    duration: Mapping[str, Percentiles]  # by task type; of plain tasks by name
    duration_by_priority: Mapping[str, Percentiles]
    #: By which a worker's main process was late, at most, in the last minute.
    loop_lag: float = 0.0
    #: Tasks that wait for others, for how many seconds one of them has, and tasks that the workers
    #: have released since they started; the first two are some seconds old.
    parked_tasks: int = 0
    oldest_parked: float = 0.0
    released_tasks: int = 0
    #: Times that autoscaling has made a worker's pool larger and smaller since the workers started.
    scale_ups: int = 0
    scale_downs: int = 0
    #: Children that ended since the workers started, by how: the values of ``types.ChildEnd``,
    #: as in ``{"recycled_tasks": 3, "killed_memory": 1, "crashed": 1}``; those that there were.
    children_ended: Mapping[str, int] = field(default_factory=dict)
    #: Tasks that went back to the broker before they had started, and tasks that are not run again
    #: for having killed their children; since the workers started.
    given_back_tasks: int = 0
    quarantined_tasks: int = 0
    #: Nodes that are known and did not answer in time.
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A child. Ages and run times in seconds, memory in bytes."""

    id: str
    hostname: str
    pid: int | None
    state: str  # the name of a WorkerState
    current_task: str | None  # "name[id]"
    tasks_completed: int
    tasks_failed: int
    is_healthy: bool
    memory: int | None  # of what it has started, too, while it runs a task
    age: float
    health: str = "healthy"  # or "suspect": signs of life are missing; or "unhealthy"
    condition: str = ""  # what is wrong, where it is unhealthy
    heard: float | None = None  # seconds since its last sign of life
    cpu: float | None = None  # the part of a CPU it uses
    peak_memory: int | None = None  # the most that was seen in its present or last task


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """How a worker is."""

    hostname: str
    answered: bool  # it took part in this check
    healthy: bool  # it did, every child of it is healthy, and one is ready if any is wanted
    children: tuple[WorkerStatus, ...] = ()
    waiting: int = 0  # tasks that no child runs yet
    loop_lag: float = 0.0  # seconds by which its main process was late, in the last minute
    children_ended: Mapping[str, int] = field(default_factory=dict)  # as in Metrics
    quarantined: int = 0  # tasks in its quarantine, which can be released


#: A child that is being replaced is not sick.
HEALTHY = ("STARTING", "IDLE", "BUSY", "TERMINATING")
READY = ("IDLE", "BUSY")


def add_up(replies: Mapping[str, Any], missing: tuple[str, ...] = ()) -> Metrics:
    """The answers to ``workerpool_report``, as one."""
    children = [child for reply in replies.values() for child in reply["status"]["children"]]
    states = [child["state"] for child in children]
    total = Ledger.merged(reply["metrics"] for reply in replies.values())
    outcomes = dict.fromkeys(Outcome, 0)
    for figures in total.tasks.values():
        for outcome, count in figures.outcomes.items():
            outcomes[outcome] += count
    failed = outcomes[Outcome.FAILED] + outcomes[Outcome.LOST] + outcomes[Outcome.TIMED_OUT]
    waited = list(total.waited.values())
    ran = [figures.ran for figures in total.tasks.values()]
    machines = {reply["machine"]["name"]: reply["machine"] for reply in replies.values()}
    cpu = sum(machine["cpu"] for machine in machines.values())
    memory = sum(machine["memory"] for machine in machines.values())
    return Metrics(
        total_workers=len(children),
        active_workers=states.count("BUSY"),
        idle_workers=states.count("IDLE"),
        unhealthy_workers=sum(state not in HEALTHY for state in states),
        pending_tasks=sum(reply["status"]["waiting"] for reply in replies.values()),
        running_tasks=sum(reply["status"]["running"] for reply in replies.values()),
        completed_tasks=outcomes[Outcome.COMPLETED],
        failed_tasks=failed,
        average_task_duration=_mean(ran),
        average_queue_time=_mean(waited),
        throughput=total.throughput,
        cpu_utilization=cpu / len(machines) if machines else 0.0,
        memory_utilization=sum(child["rss"] or 0 for child in children) / memory if memory else 0.0,
        queue_time=_all_percentiles({p.name: total.waited[p] for p in TaskPriority}),
        queue_time_by_type=_all_percentiles({n: tasks.waited for n, tasks in total.tasks.items()}),
        duration=_all_percentiles({name: tasks.ran for name, tasks in total.tasks.items()}),
        duration_by_priority=_all_percentiles({p.name: total.ran[p] for p in TaskPriority}),
        loop_lag=max((reply["status"]["loop_lag"] for reply in replies.values()), default=0.0),
        **_scalings([reply["status"].get("scaling") for reply in replies.values()]),
        **_waiting_for_others([reply["gate"] for reply in replies.values()]),
        children_ended=dict(total.children),
        given_back_tasks=total.given_back,
        quarantined_tasks=total.quarantined,
        missing=missing,
    )


def _scalings(workers: list[Mapping[str, Any] | None]) -> dict[str, int]:
    # None where the size does not follow the load.
    elastic = [scaling for scaling in workers if scaling]
    return {
        "scale_ups": sum(scaling["grown"] for scaling in elastic),
        "scale_downs": sum(scaling["shrunk"] for scaling in elastic),
    }


def _waiting_for_others(gates: list[Mapping[str, Any]]) -> dict[str, Any]:
    # All workers of a broker share the store.
    return {
        "parked_tasks": max((gate["parked"] for gate in gates), default=0),
        "oldest_parked": max((gate["oldest-parked"] for gate in gates), default=0.0),
        "released_tasks": sum(gate["released"] for gate in gates),
    }


def workers(replies: Mapping[str, Any]) -> list[WorkerStatus]:
    """The children of all workers that answered."""
    return [
        WorkerStatus(
            id=f"{hostname}/{child['serial']}",
            hostname=hostname,
            pid=child["pid"],
            state=child["state"],
            current_task=child["task"],
            tasks_completed=child["tasks_done"] - child["tasks_failed"],
            tasks_failed=child["tasks_failed"],
            is_healthy=child["state"] in HEALTHY,
            memory=child["rss"],
            age=child["age"],
            health=child["health"],
            condition=child["condition"],
            heard=child["heard"],
            cpu=child["load"],
            peak_memory=child["peak"],
        )
        for hostname in sorted(replies)
        for child in replies[hostname]["status"]["children"]
    ]


def health(replies: Mapping[str, Any], missing: tuple[str, ...]) -> dict[str, NodeHealth]:
    """A report by node."""
    reports = {name: NodeHealth(name, answered=False, healthy=False) for name in missing}
    for name, reply in replies.items():
        children = tuple(workers({name: reply}))
        reports[name] = NodeHealth(
            name,
            answered=True,
            healthy=all(child.is_healthy for child in children)
            and (not reply["status"]["target"] or any(c.state in READY for c in children)),
            children=children,
            waiting=reply["status"]["waiting"],
            loop_lag=reply["status"]["loop_lag"],
            children_ended=reply["status"]["ended"],
            quarantined=reply["status"]["quarantined"],
        )
    return dict(sorted(reports.items()))


def _all_percentiles(histograms: Mapping[str, Histogram]) -> dict[str, Percentiles]:
    """Of those that hold anything."""
    return {
        name: Percentiles(*(histogram.quantile(fraction) for fraction in (0.5, 0.95, 0.99)))
        for name, histogram in histograms.items()
        if len(histogram)
    }


def _mean(histograms: list[Histogram]) -> float:
    count = sum(map(len, histograms))
    return sum(histogram.total for histogram in histograms) / count if count else 0.0
