"""What the user sees: a live screen on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from celery_workerpool import TaskPriority

from .files import Folder, printable
from .model import Child, Counts, Kind, Progress

#: Width of what is written to a file or a pipe.
PLAIN_WIDTH = 110
#: Seconds between two frames on a terminal, and between two lines elsewhere.
FRAME = 0.1
LINE = 2.0
#: How many children get a line of their own.
MAX_CHILDREN = 8
BLOCKS = "▁▂▃▄▅▆▇█"
COLORS = {
    TaskPriority.CRITICAL: "red",
    TaskPriority.HIGH: "magenta",
    TaskPriority.NORMAL: "cyan",
    TaskPriority.LOW: "blue",
}


class Display(Protocol):
    """Shows how far the demo is."""

    def step(self, text: str) -> None:
        """Say what happens now."""

    def refresh(self, progress: Progress | None = None) -> None:
        """Show the latest; cheap to call often."""

    def close(self) -> None:
        """Make way for what is printed next."""


def make_console() -> Console:
    """Where the demo prints."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    if sys.stdout.isatty():
        return Console(highlight=False)
    width = Console().width if "COLUMNS" in Console()._environ else PLAIN_WIDTH
    return Console(highlight=False, width=width, force_terminal=False)


def make_display(console: Console, *, animate: bool) -> Display:
    """A live display where there is a terminal for it and ``animate``, else plain lines."""
    live = animate and console.is_terminal and not console.is_dumb_terminal
    return LiveDisplay(console) if live else PlainDisplay(console)


def headline(folder: Folder) -> Text:
    """The first line of all."""
    first = "the first " if folder.more else ""
    files = f"{len(folder.files):,} {plural(len(folder.files), 'file')}"
    return Text.assemble(
        ("celery_workerpool demo", "bold"),
        f"  {first}{files}, {size(folder.total_bytes)}",
        (f", in {printable(folder.root)}", "dim"),
    )


class PlainDisplay:
    """One line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0

    def step(self, text: str) -> None:
        self._print(text)

    def refresh(self, progress: Progress | None = None) -> None:
        now = time.monotonic()
        if progress is None or not progress.begin or now < self._next:
            return
        self._next = now + LINE
        parts = [
            f"{kind.label.lower()} {counts.finished:,}/{counts.total:,}"
            for kind, counts in progress.counts.items()
        ]
        if progress.failed:
            parts.append(f"{progress.failed:,} failed")
        self._print(f"{progress.elapsed:5.1f} s  " + ", ".join(parts))

    def close(self) -> None:
        pass

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)
        self._console.file.flush()


class LiveDisplay:
    """Bars, children and throughput, drawn in place. Draws in the calling thread only."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()
        self._spinner = Spinner("dots", style="green")
        self._text = ""
        self._next = 0.0
        self._samples: list[tuple[float, int]] = []

    def step(self, text: str) -> None:
        self._text = text
        self._next = 0.0
        self.refresh()

    def refresh(self, progress: Progress | None = None) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + FRAME
        self._spinner.update(text=Text(f" {self._text} …", style="dim"))
        if progress is None or not progress.begin:
            self._live.update(Group("", self._spinner), refresh=True)
            return
        self._samples.append((progress.elapsed, progress.finished))
        self._live.update(self._screen(progress), refresh=True)

    def close(self) -> None:
        if self._live.is_started:
            self._live.update("", refresh=True)
            self._live.stop()

    def _screen(self, progress: Progress) -> RenderableType:
        return Group(
            "",
            self._spinner,
            "",
            self._bars(progress),
            "",
            _children(progress),
            "",
            self._pace(progress),
            "",
        )

    def _bars(self, progress: Progress) -> RenderableType:
        grid = Table.grid(padding=(0, 2), expand=True)
        for _column in range(2):
            grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        widest = max(counts.total for counts in progress.counts.values())
        grid.add_column(justify="right", no_wrap=True, min_width=len(f"{widest:,}"))
        grid.add_column(no_wrap=True, min_width=15)
        for kind, counts in progress.counts.items():
            color = COLORS[kind.priority]
            bar = ProgressBar(
                total=max(1, counts.total),
                completed=counts.finished,
                complete_style=color,
                finished_style=color,
            )
            grid.add_row(
                Text(f" {kind.priority.name}", style=f"bold {color}"),
                kind.label,
                bar,
                f"{counts.finished:,}",
                _state(counts),
            )
        return grid

    def _pace(self, progress: Progress) -> RenderableType:
        rates = _rates(self._samples)
        recent = rates[-4:]
        line = Text.assemble(
            f" {progress.elapsed:.1f} s   ",
            (f"{sum(recent) / len(recent) if recent else 0.0:,.0f} tasks/s ", "bold"),
            (f"{_sparkline(rates[-40:])}   ", "green"),
        )
        if progress.failed:
            line.append(f"{progress.failed:,} failed   ", style="red")
        line.append("Ctrl-C ends it", style="dim")
        return line


def _state(counts: Counts) -> Text:
    text = f"of {counts.total:,}"
    if counts.sent < counts.total:
        text = f"of {counts.sent:,} sent"
    elif counts.seconds is not None:
        text = f"done in {counts.seconds:.1f} s"
    elif not counts.finished:
        text += ", waiting"
    line = Text(text, style="dim")
    if counts.failed:
        line.append(f", {counts.failed:,} failed", style="red")
    return line


def _children(progress: Progress) -> RenderableType:
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(no_wrap=True)
    for _column in range(3):
        grid.add_column(justify="right", no_wrap=True)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    pids = sorted(progress.running.keys() | progress.children.keys())
    for pid in pids[:MAX_CHILDREN]:
        child = progress.children.get(pid) or Child(pid)
        runs = progress.running.get(pid)
        ran = max(0.0, time.time() - runs.started) if runs and runs.started else 0.0
        grid.add_row(
            Text(f" child {pid}", style="yellow"),
            f"{child.tasks:,} {plural(child.tasks, 'task')}",
            size(child.memory),
            f"{ran:.1f} s" if runs else "",
            Text(printable(runs.title)) if runs else Text(_idle(child), style="dim"),
        )
    if len(pids) > MAX_CHILDREN:
        grid.add_row(Text(f" and {len(pids) - MAX_CHILDREN} more", style="dim"))
    return grid


def _idle(child: Child) -> str:
    return f"last: {printable(child.last)}" if child.last else "idle"


def _rates(samples: list[tuple[float, int]], step: float = 0.5) -> list[float]:
    """Tasks per second in every ``step`` that is over."""
    rates: list[float] = []
    begin, count = 0.0, 0
    for moment, finished in samples:
        if moment - begin >= step:
            rates.append((finished - count) / (moment - begin))
            begin, count = moment, finished
    return rates


def _sparkline(rates: list[float]) -> str:
    top = max(rates, default=0.0) or 1.0
    return "".join(BLOCKS[min(7, int(rate / top * 8))] for rate in rates)


def label(kind: Kind) -> Text:
    """A priority in its colour."""
    return Text(kind.priority.name, style=f"bold {COLORS[kind.priority]}")


def plural(count: int, noun: str) -> str:
    """The noun, with an s unless there is one."""
    return noun if count == 1 else noun + "s"


def size(count: int) -> str:
    """Bytes, in a unit that suits."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


def seconds(value: float | None) -> str:
    """A duration, in a unit that suits."""
    if value is None:
        return "–"
    if value < 0.9995:
        return f"{value * 1000:.1f} ms" if value < 0.00995 else f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s"
