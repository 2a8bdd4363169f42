"""``python -m demo [DIR]``: Celery on real files, with the pool at work."""

from __future__ import annotations

import os
import sys

from .stop import Stop, Stopped

# Before anything that takes time to import: Ctrl-C may come at any moment.
STOP = Stop()
if __name__ == "__main__":
    STOP.install()

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .files import Folder, NoFilesError, find_files
from .processes import ProcessDied, Processes

if TYPE_CHECKING:
    from rich.console import Console

    from .display import Display
    from .report import Report

POOL = "celery_workerpool:WorkerPool"
#: Some 15 seconds of work for two CPUs; the standard library has three times as many files.
LIMIT = 600


def main(argv: list[str] | None = None) -> int:
    """Run the demo; its exit code."""
    options = parse(argv)
    try:
        directory = options.dir and options.dir.expanduser()  # make passes a ~ as it is
        folder = find_files(directory, options.limit, check=STOP.check)
        return run(folder, options)
    except NoFilesError as exc:
        return complain(str(exc), 2)
    except Stopped:
        return complain("stopped; nothing is left running", STOP.exit_code)
    except ProcessDied as exc:
        if exc.tail:
            print(exc.tail, file=sys.stderr)
        return complain(str(exc), 1)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "dir",
        nargs="?",
        type=Path,
        metavar="DIR",
        help="work on every file below this folder (default: the sources of Python's library)",
    )
    parser.add_argument(
        "--limit",
        type=natural,
        default=LIMIT,
        metavar="N",
        help="use the first N files, 0 for all (default: %(default)s)",
    )
    parser.add_argument(
        "--pool",
        default=POOL,
        help="Celery's worker_pool setting, such as prefork (default: %(default)s)",
    )
    parser.add_argument(
        "--concurrency",
        type=natural,
        default=0,
        metavar="N",
        help="children of the worker (default: one for each CPU)",
    )
    parser.add_argument(
        "--prefetch",
        type=natural,
        default=0,
        metavar="N",
        help="Celery's worker_prefetch_multiplier; 0, the default, lets the worker take the "
        "whole backlog, so that the order is the pool's",
    )
    parser.add_argument("--plain", action="store_true", help="no animation, plain lines")
    return parser.parse_args(argv)


def natural(text: str) -> int:
    """A number of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("it must not be negative")
    return value


def run(folder: Folder, options: argparse.Namespace) -> int:
    """Do the main job."""
    from .display import headline, make_console, make_display
    from .summary import print_summary

    console = make_console()
    console.print(headline(folder), soft_wrap=True)
    display = make_display(console, animate=not options.plain)
    try:
        with Processes(STOP) as processes:
            report = work(folder, options, processes, display)
            display.close()
            name = options.pool.rpartition(":")[2]
            print_summary(console, report, pool=name, default_folder=options.dir is None)
            stopping(console)
    finally:
        display.close()
    STOP.check()
    return 0


def work(
    folder: Folder, options: argparse.Namespace, processes: Processes, display: Display
) -> Report:
    """Start the processes, have the tasks done, and add up what came out."""
    display.step("Starting Valkey")
    server = processes.start_server()
    concurrency = options.concurrency or os.cpu_count() or 1
    env = {
        "DEMO_SOCKET": str(processes.socket),
        "DEMO_POOL": options.pool,
        "DEMO_PREFETCH": str(options.prefetch),
    }
    display.step(f"{server} is up. Starting a worker: {options.pool}, {concurrency} children")
    processes.start_worker(concurrency, env)

    # Celery is imported while the worker does the same; it reads its settings right then.
    os.environ.update(env)
    from .job import CONNECTION_ERRORS, Job
    from .report import make_report

    def tick() -> None:
        STOP.check()
        processes.check()
        display.refresh(job.progress)

    try:
        with Job(folder, tick) as job:
            job.wait_for_worker()
            display.step(f"Sending {job.progress.total:,} tasks")
            job.send()
            display.step(f"All {job.progress.total:,} tasks are sent; the worker goes on")
            elapsed = job.follow()
    except CONNECTION_ERRORS:
        # Most likely a process died; say that instead.
        STOP.sleep(0.2)
        processes.check()
        raise
    return make_report(job.records.values(), job.progress.children.values(), elapsed)


def complain(message: str, code: int) -> int:
    """Say in one line why the demo ends."""
    print(f"demo: {message}", file=sys.stderr)
    return code


def stopping(console: Console) -> None:
    """Say that the processes are being stopped, where nothing is drawn over."""
    if not console.is_terminal:
        console.print("Stopping the worker and Valkey")
        console.file.flush()


if __name__ == "__main__":
    code = main()
    STOP.ignore()
    sys.exit(code)
