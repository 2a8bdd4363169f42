"""``celery workerpool status``: every worker's children."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..adapter.info import describe_progress
from ..types import mebibytes
from .asking import Replies, question, title
from .text import age, table

COLUMNS = ("PID", "STATE", "TASKS", "MEMORY", "AGE", "")


@question("status", "Show every child: state, tasks done, memory, task.", "workerpool_status")
def status(replies: Replies) -> str:
    """One block a worker."""
    return "\n\n".join(_worker(name, replies[name]) for name in sorted(replies))


def _worker(name: str, reply: Mapping[str, Any]) -> str:
    if "error" in reply:
        return f"{title(name)}  {reply['error']}"
    facts = f"{reply['running']} of {reply['target']} children busy, {reply['waiting']} tasks wait"
    rows = map(_row, reply["children"])
    return "\n".join([f"{title(name)}  {facts}", *table(COLUMNS, rows, numbers=(0, 2, 3, 4))])


def _row(child: Mapping[str, Any]) -> tuple[str, ...]:
    notes = []
    if child["task"]:
        notes.append(f"{child['task']} for {age(child['runtime'])}")
        if child["progress"]:
            notes.append(describe_progress(*child["progress"]))
    if child["leaving"]:
        notes.append(f"({child['leaving']})")
    return (
        str(child["pid"] or "-"),
        child["state"],
        f"{child['tasks_done']:,}",
        mebibytes(child["rss"]) if child["rss"] else "-",
        age(child["age"]),
        " ".join(notes),
    )
