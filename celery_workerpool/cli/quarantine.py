"""``celery workerpool quarantine``: tasks that killed their children too often."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click
from celery.bin.base import CeleryCommand, handle_preload_options

from .asking import Replies, ask, question, title, whom
from .text import age, table

COLUMNS = ("TASK", "CRASHES", "AGO", "")


@click.group(name="quarantine", help="Tasks that killed their children too often.")
def quarantine() -> None:
    """Holds the commands."""


@question("list", "Show the tasks in quarantine.", "workerpool_quarantine")
def listing(replies: Replies) -> str:
    """One block a worker."""
    now = time.time()
    return "\n\n".join(block(name, replies[name], now) for name in sorted(replies))


def block(name: str, reply: Mapping[str, Any], now: float) -> str:
    if "error" in reply:
        return f"{title(name)}  {reply['error']}"
    tasks = reply["quarantined"]
    if not tasks:
        return f"{title(name)}  no task in quarantine"
    rows = [
        (
            f"{task['name']}[{task['id']}]",
            str(task["crashes"]),
            age(max(0.0, now - task["when"])),
            f"{task['args']} {task['kwargs']}: {task['error']}",
        )
        for task in tasks
    ]
    return "\n".join(
        [f"{title(name)}  {len(tasks)} in quarantine", *table(COLUMNS, rows, numbers=(1, 2))]
    )


@click.command(name="release", cls=CeleryCommand, help="Send tasks of the quarantine again.")
@click.argument("task_ids", nargs=-1, required=True)
@whom
@click.pass_context
@handle_preload_options
def release(
    ctx: click.Context,
    task_ids: tuple[str, ...],
    timeout: float,
    destination: list[str] | None,
    **_: object,
) -> None:
    """Exit code 1 if a task is in nobody's quarantine."""
    replies = ask(ctx, "workerpool_release", timeout, destination, task_ids=list(task_ids))
    released = {one for reply in replies.values() for one in reply.get("released", ())}
    for reply in sorted(replies):
        if "error" in replies[reply]:
            ctx.obj.echo(f"{title(reply)}  {replies[reply]['error']}")
    for task_id in task_ids:
        found = task_id in released
        ctx.obj.echo(f"{task_id}  {'sent again' if found else 'not in quarantine'}")
    if not released.issuperset(task_ids):
        ctx.exit(1)


quarantine.add_command(listing)
quarantine.add_command(release)
