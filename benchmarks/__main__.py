"""``python -m benchmarks``: this pool beside prefork and a pool that runs nothing.

Needs REDIS_URL and RABBITMQ_URL (``make bench`` sees to them). Redis is needed always: it
holds the results. Exit code 1 when a target was not met, 2 when something could not be
measured.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from .model import Broker, Pool, Results
from .report import Machine, lines, markdown, table, write_json, write_markdown
from .run import Plan, run_all
from .scenarios import SCENARIOS

#: Columns, where the output is no terminal.
WIDTH = 130

_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def main(argv: list[str] | None = None) -> int:
    """Measure and report; the exit code."""
    options = parse(argv)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    if options.list:
        for scenario in SCENARIOS:
            console.print(f"[bold]{scenario.name}[/bold]: {scenario.method}", highlight=False)
        return 0
    urls = {broker: os.environ.get(broker.value, "") for broker in Broker}
    missing = [b for b in Broker if not urls[b] and (b in options.broker or b is Broker.REDIS)]
    if missing:
        names = " and ".join(broker.value for broker in missing)
        print(f"python -m benchmarks: set {names}, or use `make bench`", file=sys.stderr)
        return 2
    plan = Plan(
        scenarios=[_BY_NAME[name] for name in options.scenario or _BY_NAME],
        urls=urls,
        brokers=options.broker,
        pools=options.pool,
        rounds=options.rounds,
        quick=options.quick,
    )
    machine = Machine.here()
    progress = Console(stderr=True, width=console.width)
    with progress.status("") as status:
        results = run_all(plan, status.update, partial(progress.print, highlight=False))
    return report(console, results, machine, options)


def report(
    console: Console, results: list[Results], machine: Machine, options: argparse.Namespace
) -> int:
    """Show and write what was found; the exit code."""
    found = lines(results)
    console.print(str(machine), highlight=False)
    if options.quick:
        console.print("A quick look: few tasks, few rounds. No figure to quote.")
    console.print(table(found))
    if options.write:
        write_markdown(options.write, markdown(found, machine))
    if options.json:
        write_json(options.json, found, results, machine)
    failures = [failure for result in results for failure in result.failures]
    for failure in failures:
        console.print(failure, style="red", markup=False, highlight=False)
    if failures:
        return 2
    return 0 if all(good for line in found for _, _, good in line.targets) else 1


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "scenario", nargs="*", metavar="SCENARIO", help=f"of {', '.join(_BY_NAME)} (default: all)"
    )
    parser.add_argument(
        "--broker", action="append", type=_member(Broker), help="redis or rabbitmq (default: both)"
    )
    parser.add_argument(
        "--pool",
        action="append",
        type=_member(Pool),
        help="prefork, workerpool or null (default: all)",
    )
    parser.add_argument("--rounds", type=int, help="rounds of each (default: each its own)")
    parser.add_argument("--quick", action="store_true", help="a short look: fewer tasks, 1 round")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables in a document")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    parser.add_argument("--list", action="store_true", help="say what each scenario measures")
    options = parser.parse_args(argv)
    unknown = [name for name in options.scenario if name not in _BY_NAME]
    if unknown:
        parser.error(f"no scenario {unknown[0]!r}: choose of {', '.join(_BY_NAME)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds: at least 1")
    options.broker = options.broker or list(Broker)
    options.pool = options.pool or list(Pool)
    return options


class _member:  # noqa: N801  # argparse prints the name in its message
    """Reads the name of a member of an enum."""

    def __init__(self, kind: type[Broker] | type[Pool]) -> None:
        self._kind = kind
        self.__name__ = kind.__name__.lower()

    def __call__(self, text: str) -> Broker | Pool:
        try:
            return self._kind[text.upper()]
        except KeyError:
            raise ValueError(text) from None


def terminated(*_: object) -> NoReturn:
    """Leave through every ``finally``: they end the workers."""
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, terminated)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped; nothing is left running", file=sys.stderr)
        sys.exit(130)
