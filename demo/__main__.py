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
import logging
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .files import Folder, NoFilesError, find_files, require_room

if TYPE_CHECKING:
    from rich.console import Console

    from celery_workerpool import WorkerManager

    from .display import Display
    from .report import Report

#: Some 15 seconds of work for two CPUs; the standard library has three times as many files.
LIMIT = 400
#: Seconds for the worker to end what it does, at Ctrl-C, and when that comes twice.
END_WITHIN, END_AT_ONCE = 8.0, 1.0


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
        "--concurrency",
        type=natural,
        default=0,
        metavar="N",
        help="children of the worker (default: one for each CPU)",
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
    # Takes time to import, and is not needed to refuse a folder.
    from celery_workerpool import EmbeddedError, create_worker_manager
    from celery_workerpool.handlers.encryption import generate_key

    from .display import headline, make_console, make_display
    from .job import KEY
    from .summary import print_summary

    logging.disable()  # What goes wrong is said in one line.
    console = make_console()
    console.print(headline(folder), soft_wrap=True)
    display = make_display(console, animate=not options.plain)
    os.environ[KEY] = generate_key()
    concurrency = options.concurrency or os.cpu_count() or 1
    manager = create_worker_manager(
        min_workers=concurrency,
        max_workers=concurrency,
        enable_auto_scaling=False,
        max_task_queue_size=10**9,
        max_tasks_per_worker=10**6,
    )
    try:
        report = work(folder, concurrency, manager, display)
        display.close()
        print_summary(console, report, default_folder=options.dir is None)
        stopping(console)
    except EmbeddedError as exc:
        display.close()
        return complain(str(exc), 1)
    finally:
        display.close()
        manager.shutdown(wait=False, timeout=END_AT_ONCE if STOP.count > 1 else END_WITHIN)
    STOP.check()
    return 0


def work(folder: Folder, concurrency: int, manager: WorkerManager, display: Display) -> Report:
    """Start broker and worker, have the tasks done, and add up what came out."""
    from .job import Job
    from .report import make_report

    display.step(f"Starting Valkey and a worker with {concurrency} children")
    STOP.check()
    output = scratch(manager)
    require_room(folder, output)

    def tick() -> None:
        STOP.check()
        display.refresh(job.progress)

    job = Job(manager, folder, output, tick)
    try:
        job.wait_for_worker()
        display.step(f"Sending {job.progress.total:,} tasks")
        job.send()
        display.step(f"All {job.progress.total:,} tasks are sent; the worker goes on")
        elapsed = job.follow()
    finally:
        job.look.close()
    return make_report(job.records.values(), job.progress.children.values(), elapsed)


def scratch(manager: WorkerManager) -> Path:
    """A folder for what tasks write, in that of the broker: it goes with it, however we end."""
    socket = unquote(manager.app.conf.broker_url.partition("://")[2])
    folder = Path(socket).parent / f"demo-{os.getpid()}"
    folder.mkdir()
    return folder


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
