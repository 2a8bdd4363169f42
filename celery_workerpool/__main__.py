"""``python -m celery_workerpool``: a private broker and a worker, until Ctrl-C.

Scripts that are run in the same folder with the same worker settings use them, too.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from .embedded import Embedded
from .embedded.app import make_app, worker_settings
from .errors import EmbeddedError, SettingsError
from .manager.settings import ManagerSettings

#: Seconds for everything to end; a second Ctrl-C does not wait.
STOP_TIMEOUT = 30.0
#: Seconds between two looks whether the worker is there, and whether it still is.
LOOK_EVERY = 1.0


def main(argv: list[str] | None = None) -> int:
    """Run it; the exit code: 0 after Ctrl-C, 1 where it cannot run, 2 for a wrong option."""
    given = _parse(argv)
    try:
        with _interruptible():
            return _run(ManagerSettings.make(given))
    except SettingsError as exc:
        option = "--" + exc.setting.replace("_", "-")
        return _fail(f"{option} {exc.value}: expected {exc.expected}", 2)
    except EmbeddedError as exc:
        return _fail(str(exc), 1)
    except KeyboardInterrupt:
        return 0


def _run(settings: ManagerSettings) -> int:
    worker = worker_settings(dataclasses.asdict(settings))
    embedded = Embedded(worker)
    try:
        app = make_app(embedded.broker_url, worker)
        names: list[str] = []
        while not names and not embedded.trouble():
            names = _workers(app, embedded)
        for name in names:
            print(f"{name} is ready on {embedded.broker_url}; Ctrl-C ends it", flush=True)
        while (why := embedded.trouble(LOOK_EVERY)) is None:
            pass
        return _fail(why, 1)
    finally:
        embedded.close(STOP_TIMEOUT)


def _workers(app: Any, embedded: Embedded) -> list[str]:
    """Names of the workers that answer."""
    try:
        replies = app.control.ping(timeout=LOOK_EVERY, limit=1)
    except Exception:  # Whatever a client says when its broker goes away.
        if embedded.trouble() is None:
            raise
        return []
    return [name for reply in replies for name in reply]


def _fail(why: str, code: int) -> int:
    print(f"celery-workerpool: {why}", file=sys.stderr)
    return code


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """The signals that end a command are a ``KeyboardInterrupt``.

    Nothing is left behind, wherever it strikes: the host ends when this process is gone.
    """
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(signum, signal.default_int_handler) for signum in signals]
    try:
        yield
    finally:
        for signum, handler in zip(signals, before, strict=True):
            signal.signal(signum, handler)


def _parse(argv: list[str] | None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        prog="celery-workerpool",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # Or it would accept what a later version's options make ambiguous.
    )
    for item in dataclasses.fields(ManagerSettings):
        option = "--" + item.name.replace("_", "-")
        if item.type == "bool":
            parser.add_argument(option, action=argparse.BooleanOptionalAction)
        elif "tuple" in str(item.type):
            parser.add_argument(option, action="append", metavar="NAME")
        else:
            parser.add_argument(option, type=int if item.type == "int" else float, metavar="N")
    given = vars(parser.parse_args(argv))
    return {name: value for name, value in given.items() if value is not None}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        os._exit(130)  # The second one, while everything ends; it goes on ending without us.
