"""``celery workerpool recycle``: new children for old ones, while the work goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from celery.bin.base import CeleryCommand, handle_preload_options

from .asking import ask, title, whom


@click.command(
    name="recycle",
    cls=CeleryCommand,
    help="Replace every child, a few at a time, while the work goes on.",
)
@whom
@click.pass_context
@handle_preload_options
def recycle(ctx: click.Context, timeout: float, destination: list[str] | None, **_: object) -> None:
    """Returns when the workers have begun; ``status`` shows how far they are."""
    replies = ask(ctx, "workerpool_recycle", timeout, destination)
    for name in sorted(replies):
        ctx.obj.echo(line(name, replies[name]))


def line(name: str, reply: Mapping[str, Any]) -> str:
    """What a worker has begun to do."""
    if "error" in reply:
        return f"{title(name)}  {reply['error']}"
    children = reply["children"]
    if not children:
        return f"{title(name)}  has no children"
    which = "the child is" if children == 1 else f"{children:,} children are"
    return f"{title(name)}  {which} replaced, {reply['at_once']} at a time"
