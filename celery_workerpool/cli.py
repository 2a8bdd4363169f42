"""``celery -A proj workerpool …``: the pool from a terminal."""

from __future__ import annotations

import json as jsonlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click
from celery.bin.base import (
    COMMA_SEPARATED_LIST,
    CeleryCommand,
    CeleryOption,
    handle_preload_options,
    handle_remote_command_error,
)
from celery.exceptions import CeleryCommandException
from celery.platforms import EX_UNAVAILABLE

from .adapter import control as _control  # noqa: F401  # makes its commands known
from .adapter.info import describe_progress
from .types import mebibytes

COLUMNS = ("PID", "STATE", "TASKS", "MEMORY", "AGE", "")
RIGHT = (0, 2, 3, 4)  # columns of numbers


@click.group(name="workerpool", help="See what the worker pool does (celery_workerpool).")
def workerpool() -> None:
    """Holds the commands."""


@workerpool.command(cls=CeleryCommand)
@click.option(
    "-t",
    "--timeout",
    cls=CeleryOption,
    type=float,
    default=1.0,
    show_default=True,
    help_group="Remote Control Options",
    help="Seconds to wait for workers to answer.",
)
@click.option(
    "-d",
    "--destination",
    cls=CeleryOption,
    type=COMMA_SEPARATED_LIST,
    help_group="Remote Control Options",
    help="Comma separated list of destination node names.",
)
@click.option(
    "-w",
    "--watch",
    cls=CeleryOption,
    type=click.FloatRange(min=0.1),
    help_group="Remote Control Options",
    help="Ask again every so many seconds, until Ctrl-C.",
)
@click.option(
    "-j",
    "--json",
    cls=CeleryOption,
    is_flag=True,
    help_group="Remote Control Options",
    help="Use json as output format.",
)
@click.pass_context
@handle_preload_options
def status(
    ctx: click.Context,
    timeout: float,
    destination: list[str] | None,
    watch: float | None,
    json: bool,
    **_: object,
) -> None:
    """Show every worker's children: state, task, tasks done, memory, age."""
    while True:
        replies = _ask(ctx, timeout, destination)
        if watch and not json:
            click.clear()
        ctx.obj.echo(jsonlib.dumps(replies) if json else _screen(replies))
        if not watch:
            return
        time.sleep(watch)


def _ask(ctx: click.Context, timeout: float, destination: list[str] | None) -> dict[str, Any]:
    inspect = ctx.obj.app.control.inspect(timeout=timeout, destination=destination)
    try:
        replies: dict[str, Any] | None = inspect._request("workerpool_status")
    except Exception as exc:  # Celery's own commands report whatever it is in this way.
        handle_remote_command_error("workerpool status", exc)
        raise
    if not replies:
        raise CeleryCommandException("No nodes replied within time constraint", EX_UNAVAILABLE)
    return replies


def _screen(replies: Mapping[str, Any]) -> str:
    return "\n\n".join(_worker(name, replies[name]) for name in sorted(replies))


def _worker(name: str, reply: Mapping[str, Any]) -> str:
    """A worker's part of the screen."""
    title = click.style(name, fg="cyan", bold=True)
    if "error" in reply:
        return f"{title}  {reply['error']}"
    children = reply["children"]
    facts = f"{reply['running']} of {reply['target']} children busy, {reply['waiting']} tasks wait"
    return "\n".join([f"{title}  {facts}", *_table(map(_row, children))])


def _row(child: Mapping[str, Any]) -> tuple[str, ...]:
    notes = []
    if child["task"]:
        notes.append(f"{child['task']} for {_duration(child['runtime'])}")
        if child["progress"]:
            notes.append(describe_progress(*child["progress"]))
    if child["leaving"]:
        notes.append(f"({child['leaving']})")
    return (
        str(child["pid"] or "-"),
        child["state"],
        f"{child['tasks_done']:,}",
        mebibytes(child["rss"]) if child["rss"] else "-",
        _duration(child["age"]),
        " ".join(notes),
    )


def _table(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    lines = [COLUMNS, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    for line in lines:
        cells = [
            cell.rjust(width) if column in RIGHT else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()


def _duration(seconds: float) -> str:
    """``"3.2 s"``, ``"5:07"``, ``"2:05:07"``, ``"3 d 2:05:07"``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if not days and not hours:
        return f"{minutes}:{rest:02}"
    clock = f"{hours}:{minutes:02}:{rest:02}"
    return f"{days} d {clock}" if days else clock
