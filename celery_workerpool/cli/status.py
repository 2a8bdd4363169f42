"""``celery workerpool status``: every worker's children."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..adapter.info import counted, describe_decision, describe_ends, describe_progress
from ..types import mebibytes
from .asking import Replies, question, title
from .text import age, span, table

#: The first is the number in log lines: 2 logs as ``ForkPoolWorker-2``.
COLUMNS = ("CHILD", "PID", "STATE", "TASKS", "MEMORY", "CPU", "AGE", "")
#: Seconds by which a main process may be late without a word here.
LAG = 0.1


@question("status", "Show every child: state, tasks done, memory, task.", "workerpool_status")
def status(replies: Replies) -> str:
    """One block a worker."""
    return "\n\n".join(block(name, replies[name]) for name in sorted(replies))


def block(name: str, reply: Mapping[str, Any]) -> str:
    """A worker and its children, or why it has none to show."""
    if "error" in reply:
        return f"{title(name)}  {reply['error']}"
    children = "child" if reply["target"] == 1 else "children"
    waiting = f"{counted(reply['waiting'], 'task')} wait{'s' if reply['waiting'] == 1 else ''}"
    facts = f"{reply['running']} of {reply['target']} {children} busy, {waiting}"
    if parked := reply.get("parked"):  # In the store: the same for all workers of a broker.
        facts += f", {parked:,} for others"
    if quarantined := reply.get("quarantined"):
        facts += f", {quarantined:,} in quarantine"
    if reply["loop_lag"] >= LAG:
        facts += f", main process late by {span(reply['loop_lag'])} in the last minute"
    heading = [f"{title(name)}  {facts}", *_scaling(reply.get("scaling"))]
    if reply["ended"]:
        heading.append(f"  children ended: {', '.join(describe_ends(reply['ended']))}")
    rows = map(_row, reply["children"])
    lines = table(COLUMNS, rows, numbers=(0, 1, 3, 4, 5, 6))
    return "\n".join([*heading, *lines])


def _scaling(scaling: Mapping[str, Any] | None) -> list[str]:
    """How the size follows the load, and what was decided last."""
    if scaling is None:
        return []
    last = scaling["last"]
    line = f"  scales from {scaling['min']} to {scaling['max']}"
    line += " (dry run)" if scaling["dry_run"] else ""
    if last is not None:
        line += f"; {age(last['ago'])} ago: {describe_decision(last)}"
    return [line]


def _row(child: Mapping[str, Any]) -> tuple[str, ...]:
    now = []
    if child["task"]:
        now.append(f"{child['task']} for {age(child['runtime'])}")
        if child["progress"]:
            now.append(describe_progress(*child["progress"]))
    notes = [", ".join(now), child["condition"], child["going"]]
    return (
        str(child["number"]),
        str(child["pid"] or "-"),
        child["state"],
        f"{child['tasks_done']:,}",
        mebibytes(child["rss"]) if child["rss"] else "-",
        "-" if child["load"] is None else f"{child['load']:.0%}",
        age(child["age"]),
        "; ".join(filter(None, notes)),
    )
