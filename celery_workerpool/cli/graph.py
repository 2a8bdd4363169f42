"""``celery workerpool graph ID``: what a task waits or waited for, as a tree."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click
from celery.bin.base import CeleryCommand, CeleryOption, handle_preload_options
from celery.exceptions import CeleryCommandException
from celery.platforms import EX_FAILURE, EX_UNAVAILABLE

from ..errors import SettingsError, described
from ..gate.memory import MemoryStore
from ..gate.opening import open_store
from ..gate.tree import Node, collect, in_workers
from ..settings import Settings
from ..stored import get_many

COLOURS = {"COMPLETED": "green", "RUNNING": "cyan", "PENDING": "yellow"}
#: No worker has it: it waits in a queue, has been lost, has ended long ago, or never was.
NOTHING = "nothing is known of it"
#: Lines that are shown at most.
MOST = 500


@click.command(name="graph", cls=CeleryCommand, help="Show what tasks wait for, as a tree.")
@click.argument("task_ids", nargs=-1, required=True, metavar="ID...")
@click.option(
    "-t",
    "--timeout",
    type=click.FloatRange(min=0),
    default=1.0,
    cls=CeleryOption,
    help="Seconds to wait for what workers know; 0: do not ask them.",
)
@click.option("-j", "--json", "as_json", is_flag=True, cls=CeleryOption, help="Output as JSON.")
@click.pass_context
@handle_preload_options
def graph(
    ctx: click.Context, task_ids: tuple[str, ...], timeout: float, as_json: bool, **_: object
) -> None:
    """Needs no worker: the gate's store and the result backend know. Workers know what runs."""
    app = ctx.obj.app
    nodes = _collect(app, task_ids)
    if timeout:
        inspect = app.control.inspect(timeout=timeout)
        try:
            nodes = in_workers(nodes, lambda ids: inspect.query_task(*ids))
        except Exception as exc:  # Whatever the broker's client raises.
            click.secho(f"workers cannot be asked: {described(exc)}", fg="yellow", err=True)
    if as_json:
        found = {task_id: asdict(node) for task_id, node in nodes.items()}
        ctx.obj.echo(json.dumps(found, default=lambda value: value.value))
    else:
        lines = [line for task_id in task_ids for line in tree(nodes, task_id)]
        for line in lines[:MOST]:
            ctx.obj.echo(line)
        if len(lines) > MOST:
            ctx.obj.echo(f"… and {len(lines) - MOST} lines more")
    if unknown := [task_id for task_id in task_ids if nodes[task_id].unknown]:
        raise CeleryCommandException(f"{NOTHING}: {', '.join(unknown)}", EX_FAILURE)


def _collect(app: Any, task_ids: tuple[str, ...]) -> dict[str, Node]:
    try:
        store = open_store(app, Settings.of_app(app))
    except SettingsError as exc:
        raise CeleryCommandException(str(exc), EX_UNAVAILABLE) from exc
    if store is None:
        text = "tasks cannot wait for others here: workerpool_gate_store is not set"
        raise CeleryCommandException(text, EX_UNAVAILABLE)
    if isinstance(store, MemoryStore):
        text = "workerpool_gate_store is memory://: what waits there only its worker can see"
        raise CeleryCommandException(text, EX_UNAVAILABLE)
    try:
        return collect(task_ids, store.look, partial(get_many, app.backend))
    except Exception as exc:  # Whatever the store's and the results' clients raise.
        text = f"the store of waiting tasks or of results does not answer: {exc}"
        raise CeleryCommandException(text, EX_UNAVAILABLE) from exc
    finally:
        store.close()


def tree(nodes: Mapping[str, Node], root: str) -> Iterator[str]:
    """A line for the task, and below it those that it waits for; each is unfolded once."""
    unfolded: set[str] = set()
    stack: list[tuple[str, str, str]] = [(root, "", "")]
    while stack:
        task_id, lead, below = stack.pop()
        node = nodes.get(task_id, Node(task_id))
        again = task_id in unfolded and bool(node.dependencies)
        yield lead + _line(node) + (" (see above)" if again else "")
        if again:
            continue
        unfolded.add(task_id)
        count = len(node.dependencies)
        for number, other in reversed(list(enumerate(node.dependencies, 1))):
            last = number == count
            stack.append(
                (other, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "))
            )


def _line(node: Node) -> str:
    status = node.status.name
    shown = click.style(status, fg=COLOURS.get(status, "red"))
    notes = [f"{node.id}  {shown}", *filter(None, [node.name])]
    if node.waits_for:
        notes.append(f"waits for {len(node.waits_for)} of {len(node.dependencies)}")
    if node.until is not None:
        when = datetime.fromtimestamp(node.until, UTC)
        notes.append(f"waits until {when:%Y-%m-%d %H:%M:%S} UTC")
    if node.unknown:
        notes.append(NOTHING)
    if node.error and status != "COMPLETED":
        notes.append(node.error)
    return "  ".join(notes)
