"""What ``celery inspect stats`` and Flower show of the pool: flat, and readable as it is."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import inf
from typing import Any

import psutil

from ..engine.engine import Engine
from ..engine.worker import Worker
from ..gate.gate import Gate
from ..metrics import Ledger
from ..settings import Settings
from ..types import Health, Limits, mebibytes
from .options import max_tasks


def describe_options(settings: Settings, options: Mapping[str, Any]) -> dict[str, object]:
    """As configured; memory in KiB.

    Arguments:
        options: those that Celery gives to a pool.
    """
    return {
        "max-tasks-per-child": max_tasks(settings, options) or "N/A",
        "max-memory-per-child": options.get("max_memory_per_child") or "N/A",
        "put-guarded-by-semaphore": False,
        "writes": "N/A",
    }


def describe_pool(engine: Engine, default_limits: Limits, ledger: Ledger) -> dict[str, object]:
    """Live figures; plain data.

    ``running`` are the tasks in children, ``waiting`` those that this worker holds and no child
    runs yet, ``processes`` the pids. Each child has an entry of its own under the number that
    its log lines carry (``child-2`` and ``child-2-next`` log as ``ForkPoolWorker-2``): a list,
    which Flower prints as it is, where it would take dashes and underscores out of a text.
    """
    now = time.monotonic()
    workers = _by_place(engine)
    return {
        "max-concurrency": engine.target,
        "running": engine.running,
        "waiting": engine.waiting,
        "unhealthy": sum(worker.health is Health.UNHEALTHY for worker in workers),
        "loop-lag": round(_lag(engine, now), 3),
        **_counts(engine, ledger),
        "timeouts": (default_limits.soft or 0, default_limits.hard or 0),
        "processes": [worker.pid for worker in workers if worker.pid is not None],
        **_lines(workers, now),
    }


def _by_place(engine: Engine) -> list[Worker]:
    """The children; of two in the same place the older one first."""
    return sorted(engine.workers(), key=lambda worker: (worker.index, worker.number))


def _lines(workers: Sequence[Worker], now: float) -> dict[str, object]:
    """By names; a replacement in the place of one that is still there is called the next."""
    lines: dict[str, object] = {}
    for worker in workers:
        name = f"child-{worker.index + 1}"
        while name in lines:
            name += "-next"
        lines[name] = _line(worker, now)
    return lines


def _counts(engine: Engine, ledger: Ledger) -> dict[str, object]:
    """What has happened since the start; of a pool that does not scale, no changes of its size."""
    with engine:
        elastic = engine.elastic
        scaled = {"grown": elastic.grown, "shrunk": elastic.shrunk} if elastic.rules else {}
        ended = describe_ends(ledger.children)
    return {"children-ended": ended, "given-back": ledger.given_back, **scaled}


def describe_ends(children: Mapping[str, int]) -> list[str]:
    """``["3 recycled (tasks)", "1 crashed"]``, of children by their :class:`.types.ChildEnd`."""
    found = []
    for end, count in sorted(children.items(), key=lambda item: (-item[1], item[0])):
        how, _, why = end.partition("_")
        found.append(f"{count:,} {how}" + (f" ({why.replace('_', ' ')})" if why else ""))
    return found


def describe_status(engine: Engine, ledger: Ledger) -> dict[str, object]:
    """The same as data: what ``celery workerpool status`` shows."""
    with engine:  # Its thread, where it has one, adds to the figures.
        ended = dict(ledger.children)
    now = time.monotonic()
    workers = _by_place(engine)
    return {
        "target": engine.target,
        "running": engine.running,
        "waiting": engine.waiting,
        "scaling": describe_scaling(engine),
        "loop_lag": _lag(engine, now),
        "ended": ended,
        "children": [_record(worker, now) for worker in workers],
    }


def describe_scaling(engine: Engine) -> dict[str, object] | None:
    """How the size follows the load, as data; None where it does not.

    ``utilization`` is that of the moment before the last look, None when nobody had a reason to
    look; ``last`` is the last decision, ``ago`` seconds before now, with ``target`` as ``before``
    where the machine had no room.
    """
    with engine:
        elastic = engine.elastic
        rules, last = elastic.rules, elastic.last
        if rules is None:
            return None
        facts: dict[str, object] = {
            "min": rules.min_workers,
            "max": rules.max_workers,
            "dry_run": elastic.dry_run,
            "utilization": elastic.utilization,
            "grown": elastic.grown,
            "shrunk": elastic.shrunk,
            "last": None,
        }
    if last is not None:
        decision, at = last
        facts["last"] = {**asdict(decision), "ago": time.monotonic() - at}
    return facts


def _lag(engine: Engine, now: float) -> float:
    with engine:  # Its thread, where it has one, adds to the figures.
        return engine.health.lag.worst(now)


def describe_gate(gate: Gate) -> dict[str, object]:
    """Tasks that wait for others.

    ``parked`` are those in the store and ``oldest-parked`` the seconds that one of them has
    waited, for all workers of this broker; ``released`` those that this worker let go.
    """
    counts = gate.counts
    age = 0.0 if counts.oldest is None else max(0.0, time.time() - counts.oldest)
    return {"parked": counts.parked, "oldest-parked": round(age, 1), "released": gate.published}


def describe_machine() -> dict[str, object]:
    """The machine's name and bytes of memory, and the part of its CPUs in use since last asked."""
    return {
        "name": platform.node(),
        "memory": psutil.virtual_memory().total,
        "cpu": psutil.cpu_percent() / 100,
    }


def _record(worker: Worker, now: float) -> dict[str, object]:
    """Ages and run times in seconds, memory in bytes; None where not known or not there.

    ``number`` is the one in the child's log lines, ``serial`` the one in events, which is never
    used again; ``going`` says why it will not stay. ``heard`` is how long ago it gave a sign of
    life, ``load`` the part of a CPU that it used between the last two, ``peak`` the most memory
    that was seen in its present or last task, ``condition`` what is wrong if it is unhealthy.
    """
    job = worker.job
    return {
        "number": worker.index + 1,
        "serial": worker.number,
        "pid": worker.pid,
        "state": worker.shown_state.value,
        "health": worker.health.value,
        "condition": worker.condition,
        "heard": max(0.0, now - worker.heard_at) if worker.heard_at < inf else None,
        "load": worker.load,
        "task": None if job is None else str(job),
        "runtime": None if job is None else now - worker.job_started_at,
        "progress": None if job is None else job.progress,
        "tasks_done": worker.tasks_done,
        "tasks_failed": worker.tasks_failed,
        "rss": worker.rss,
        "peak": worker.peak,
        "age": now - worker.started_at,
        "going": _going(worker),
    }


def _line(worker: Worker, now: float) -> list[str]:
    parts = [worker.shown_state.value]
    if worker.condition:
        parts.append(worker.condition)
    job = worker.job
    if job is not None:
        parts.append(f"{job} for {now - worker.job_started_at:.1f} s")
        if job.progress is not None:
            parts.append(describe_progress(*job.progress))
    if worker.pid is not None:
        parts += [f"pid {worker.pid}", f"{mebibytes(worker.rss)} resident"]
    done = counted(worker.tasks_done, "task")
    parts += [f"{done} done", f"{now - worker.started_at:.0f} s old"]
    going = _going(worker)
    return [*parts, going] if going else parts


def _going(worker: Worker) -> str:
    if worker.leaving:
        return f"leaving: {worker.leaving}"
    reason = worker.due or worker.preparing
    return f"to be replaced: {reason}" if reason else ""


def counted(count: int, noun: str) -> str:
    """``"1 task"``, ``"1,234 tasks"``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def describe_progress(percent: float, message: str) -> str:
    """``"45 %: resizing"``."""
    return f"{percent:.0f} %: {message}" if message else f"{percent:.0f} %"


def describe_decision(last: Mapping[str, Any] | None) -> str:
    """``"2 to 8: utilization 1.00 …"``, of what :func:`describe_scaling` has under ``last``."""
    if last is None:
        return "none yet"
    step = f"{last['before']} to {last['target']}"
    if last["target"] == last["before"]:
        step = f"{last['before']} as before"
    return f"{step}: {last['reason']}"
