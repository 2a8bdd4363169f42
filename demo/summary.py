"""The closing screen."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from celery_workerpool import TaskPriority

from .display import label, plural, seconds, size
from .files import printable
from .report import FileReport, KindReport, Report

#: Lines for children, and for files that failed.
MAX_CHILDREN = 8
MAX_FAILURES = 5
#: Seconds; where LOW tasks wait less, hardly anything ever waited beside anything else.
SHORT = 0.5
#: Columns of the files' table that are not names: two of "99.9 kB   100.0%", and the gaps.
FIGURES = 43


def print_summary(console: Console, report: Report, *, default_folder: bool) -> None:
    """Print what the run did, and what to try next."""
    console.print(_verdict(report))
    console.print(_priorities(report))
    console.print(_children(report))
    console.print(_files(report, console.width))
    if report.failed_files:
        console.print(_failures(report))
    if report.analysis:
        console.print(_analysis_line(report.analysis))
    console.print(_priority_line(report))
    console.print(_next_line(default_folder))


def _verdict(report: Report) -> Text:
    good = not report.failures
    failed = "none failed" if good else f"{report.failures:,} failed"
    count = len(report.files)
    return Text.assemble(
        ("✓ " if good else "✗ ", "bold green" if good else "bold red"),
        (f"{report.tasks:,} tasks in {report.elapsed:.1f} s", "bold"),
        f", {report.throughput:,.0f} tasks/s, ",
        (failed, "" if good else "red"),
        f". Read: {count:,} {plural(count, 'file')}, {size(report.total_bytes)}, "
        f"{report.lines:,} {plural(report.lines, 'line')}, "
        f"{report.words:,} {plural(report.words, 'word')}.",
    )


def _table(*columns: str, text: tuple[int, ...] = (0,)) -> Table:
    """A table without lines; the columns numbered in ``text`` are text, the others numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", border_style="dim")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number in text else "right", no_wrap=True)
    return table


def _priorities(report: Report) -> Table:
    columns = (
        "Priority",
        "Task",
        "Done",
        "Failed",
        "Waited: p50",
        "p95",
        "Ran: p50",
        "p95",
    )
    table = _table(*columns, text=(0, 1))
    for part in report.kinds:
        table.add_row(
            label(part.kind),
            part.kind.label,
            f"{part.tasks - part.failures:,}",
            Text(f"{part.failures:,}", style="red" if part.failures else ""),
            Text(seconds(part.queue.p50), style="bold"),
            seconds(part.queue.p95),
            seconds(part.duration.p50),
            seconds(part.duration.p95),
        )
    return table


def _children(report: Report) -> Table:
    table = _table("Child", "Tasks done", "Memory")
    for child in report.children[:MAX_CHILDREN]:
        table.add_row(
            Text(f"pid {child.pid}", style="yellow"), f"{child.tasks:,}", size(child.memory)
        )
    rest = report.children[MAX_CHILDREN:]
    if rest:
        table.add_row(f"{len(rest)} more", f"{sum(child.tasks for child in rest):,}", "")
    return table


def _files(report: Report, width: int) -> Table:
    table = _table("Largest", "Size", "gzip", "Most compressible", "Size", "gzip", text=(0, 3))
    room = max(12, (width - FIGURES) // 2)
    largest, compressible = report.largest(), report.most_compressible()
    for number in range(max(len(largest), len(compressible))):
        table.add_row(*_file(largest, number, room), *_file(compressible, number, room))
    return table


def _file(files: list[FileReport], number: int, room: int) -> tuple[Text | str, str, str]:
    if number >= len(files):
        return "", "", ""
    file = files[number]
    ratio = "–" if file.ratio is None else f"{file.ratio:.{int(file.ratio < 1)}%}"
    return Text(_shorten(printable(file.file), room)), size(file.size), ratio


def _failures(report: Report) -> Table:
    table = _table("Failed", "Tasks", "Reason", text=(0, 2))
    for file, reason, count in report.failed_files[:MAX_FAILURES]:
        table.add_row(Text(_shorten(printable(file), 50)), f"{count}", Text(printable(reason)))
    rest = report.failed_files[MAX_FAILURES:]
    if rest:
        table.add_row(f"and {len(rest):,} more", f"{sum(count for *_, count in rest):,}", "")
    return table


def _analysis_line(analysis: dict[str, dict[str, float]]) -> Text:
    lines = analysis["lines"]
    return Text.assemble(
        "The analysis waited for every count: a file has ",
        (f"{lines['median']:,.0f} lines", "bold"),
        f" at the median, {lines['max']:,.0f} at most.",
    )


def _priority_line(report: Report) -> Text:
    parts: dict[TaskPriority, KindReport] = {part.kind.priority: part for part in report.kinds}
    high, low = (parts[each].queue.p50 for each in (TaskPriority.HIGH, TaskPriority.LOW))
    if high is None or low is None:
        return Text("No task has started, so there is nothing to say about priorities.")
    line = Text.assemble(
        "LOW was sent first; half of HIGH was started within ",
        (seconds(high), "bold"),
        " and half of LOW within ",
        (seconds(low), "bold"),
        ".",
    )
    if low < SHORT:
        line.append(" So little work leaves priorities nothing to do.")
    return line


def _next_line(default_folder: bool) -> Text:
    whose = "a folder of yours" if default_folder else "another folder"
    return Text.assemble("Next: ", ("make demo DIR=…", "bold green"), f" for {whose}.")


def _shorten(name: str, room: int) -> str:
    """The end of a name, which says most."""
    return name if len(name) <= room else "…" + name[1 - room :]
