"""Asking workers, and showing their answers once or again and again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
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

Replies = Mapping[str, Any]
GROUP = "Remote Control Options"


def question(name: str, help_text: str, command: str) -> Callable[..., click.Command]:
    """Make a command of a function that turns the workers' answers into a screen of text.

    Arguments:
        command: the remote control command that workers answer.
    """

    def decorate(screen: Callable[[Replies], str]) -> click.Command:
        @click.command(name=name, cls=CeleryCommand, help=help_text)
        @whom
        @_option("-w", "--watch", type=click.FloatRange(min=0.1), help="Ask every so many seconds.")
        @_option("-j", "--json", "as_json", is_flag=True, help="Use json as output format.")
        @click.pass_context
        @handle_preload_options
        def run(
            ctx: click.Context,
            timeout: float,
            destination: list[str] | None,
            watch: float | None,
            as_json: bool,
            **_: object,
        ) -> None:
            while True:
                replies = ask(ctx, command, timeout, destination)
                if watch and not as_json:
                    click.clear()
                ctx.obj.echo(json.dumps(replies) if as_json else screen(replies))
                if not watch:
                    return
                time.sleep(watch)

        made: click.Command = run
        return made

    return decorate


def whom(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options ``timeout`` and ``destination``."""
    timeout = _option(
        "-t", "--timeout", type=float, default=1.0, help="Seconds to wait for answers."
    )
    destination = _option(
        "-d",
        "--destination",
        type=COMMA_SEPARATED_LIST,
        help="Comma separated list of destination node names.",
    )
    decorated: Callable[..., Any] = timeout(destination(command))
    return decorated


def title(name: str) -> str:
    """A worker's name, as Celery's own commands show it."""
    return click.style(name, fg="cyan", bold=True)


def _option(*names: str, **attributes: Any) -> Any:
    return click.option(*names, cls=CeleryOption, help_group=GROUP, **attributes)


def ask(
    ctx: click.Context,
    command: str,
    timeout: float,
    destination: list[str] | None,
    **arguments: object,
) -> Replies:
    """What workers answer to a remote control command.

    Raises:
        CeleryCommandException: none did.
    """
    inspect = ctx.obj.app.control.inspect(timeout=timeout, destination=destination)
    try:
        replies: Replies | None = inspect._request(command, **arguments)
    except Exception as exc:  # Celery's own commands report whatever it is in this way.
        handle_remote_command_error(command, exc)
        raise
    if not replies:
        raise CeleryCommandException("No nodes replied within time constraint", EX_UNAVAILABLE)
    return replies
