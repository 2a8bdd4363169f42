"""Run Celery's own integration tests on this pool and on prefork, and say what differs."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from rich.console import Console

from ..services import ServiceUnavailable
from .judge import Judgement, judge, suspects
from .outcomes import Run, Verdict
from .report import show_failures, show_names, show_table
from .sessions import PREFORK, WORKERPOOL, Bench, Pool, SuiteFailed
from .source import CACHE, SourceUnavailable, source
from .suite import Selection, modules

#: Celery's tests mostly wait, so more of them run at a time than there are processors. Each
#: session has servers of its own, and RabbitMQ is a large one.
SESSIONS = {"redis": 4, "rabbitmq": 2}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 1 if there is a difference, 2 if the suite could not be run, else 0."""
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        bench = Bench(source(), CACHE / "logs", options.broker, _Progress(console))
        return conformance(
            bench,
            modules(quick=options.quick, slow=options.slow, keyword=options.select),
            options.pool,
            options.sessions or SESSIONS[options.broker],
            console,
        )
    except (SourceUnavailable, ServiceUnavailable, SuiteFailed) as exc:
        console.print(f"conformance: {exc}", markup=False, highlight=False)
        return 2


def conformance(
    bench: Bench,
    selection: Selection,
    pool: str,
    sessions: int,
    console: Console,
    workerpool: Pool = WORKERPOOL,
) -> int:
    """Run the selection and judge it.

    Arguments:
        pool: ``workerpool``, ``prefork`` or ``both``. With ``workerpool`` only what fails there
            is run on prefork too, so that a difference is still found.
        workerpool: what is compared with prefork.
    """
    wanted = [one for one in (workerpool, PREFORK) if pool in (one.name, "both")]
    runs = {one.name: bench.run(one, selection, sessions=sessions) for one in wanted}
    show_table(console, runs)
    judgement = None
    if workerpool.name in runs:
        judgement = _judge(bench, runs, console, workerpool)
    show_names(console, runs, judgement)
    return 1 if judgement is not None and judgement.differences else 0


def _judge(bench: Bench, runs: dict[str, Run], console: Console, workerpool: Pool) -> Judgement:
    ours, prefork = runs[workerpool.name], runs.get(PREFORK.name)

    def run_both(names: tuple[str, ...]) -> tuple[Run, Run]:
        console.print(
            f"Run again on both pools, one at a time: {len(names)} tests that this pool has "
            "not passed and prefork may pass."
        )
        # Alone on the machine, as far as it is up to us.
        again = [
            bench.run(one, Selection(names), sessions=1, label="-again")
            for one in (workerpool, PREFORK)
        ]
        show_table(console, {workerpool.name: again[0], PREFORK.name: again[1]})
        return again[0], again[1]

    judgement = judge(suspects(ours, prefork), prefork, run_both)
    show_failures(console, ours, judgement.differences)
    return judgement


class _Progress:
    """A line that counts, on a terminal only."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, pool: Pool, run: Run) -> None:
        if self._console.is_terminal:
            done = sum(one.verdict is not Verdict.FAILED for one in run.tests.values())
            self._console.print(f"{pool.name}: {done} of {len(run.tests)}", end="\r")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.conformance", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tasks and inspect only, as CI does")
    parser.add_argument(
        "--slow", action="store_true", help="also the tests of canvas that take a minute or more"
    )
    parser.add_argument(
        "--pool",
        choices=("both", "workerpool", "prefork"),
        default="both",
        help="only this one; what fails on this pool is run on both all the same",
    )
    parser.add_argument("--select", default="", metavar="EXPRESSION", help="pytest's -k")
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), default="redis")
    parser.add_argument(
        "--sessions",
        type=_positive,
        metavar="N",
        help="pytest processes, each with a worker and servers of its own (4; 2 on RabbitMQ)",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    # Servers and pytest's processes are ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
