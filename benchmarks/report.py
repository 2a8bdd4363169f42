"""The results as lines, and the lines as a table for people, Markdown and JSON."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import celery
import kombu
from rich.table import Table

from .model import Measure, Pool, Results, Target

#: Between these two lines of a document the latest results are kept.
BEGIN, END = "<!-- results: written by python -m benchmarks -->", "<!-- end of results -->"

_BROKERS = {"REDIS": "Redis", "RABBITMQ": "RabbitMQ"}
_HEADINGS = ("", "broker", "prefork", "this pool", "null pool", "× prefork", "target", "reached")


@dataclass(frozen=True, slots=True)
class Line:
    """One measure of one scenario on one broker.

    Attributes:
        prefork, workerpool, null: figures in ``unit``; None where not measured.
        ratio: this pool's figure as a multiple of prefork's, median over the rounds.
        targets: one for each target: what is asked, what was reached, whether that is enough.
    """

    scenario: str
    title: str
    measure: str
    unit: str
    broker: str
    rounds: int
    prefork: float | None
    workerpool: float | None
    null: float | None
    ratio: float | None
    targets: tuple[tuple[str, float, bool], ...]


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and when the figures were taken."""

    when: str
    cpus: int
    cpu: str
    system: str
    python: str
    celery: str
    kombu: str
    load: float  # one-minute average before the first round

    @classmethod
    def here(cls) -> Machine:
        return cls(
            when=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            cpus=len(os.sched_getaffinity(0)),
            cpu=_cpu_model(),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            celery=celery.__version__,
            kombu=kombu.__version__,
            load=os.getloadavg()[0],
        )

    def __str__(self) -> str:
        return (
            f"{self.when}; {self.cpus} × {self.cpu}, {self.system}, Python {self.python}, "
            f"Celery {self.celery}, kombu {self.kombu}; load before the start {self.load:.1f}"
        )


def lines(results: Sequence[Results]) -> list[Line]:
    """What the report shows, in the order of the results."""
    return [
        _line(result, key, measure)
        for result in results
        for key, measure in result.scenario.measures.items()
        if any(result.figures(pool, key) for pool in Pool)
    ]


def _line(result: Results, key: str, measure: Measure) -> Line:
    return Line(
        scenario=result.scenario.name,
        title=result.scenario.title,
        measure=measure.name,
        unit=measure.unit,
        broker=_BROKERS[result.broker.name],
        rounds=len(result.rounds),
        prefork=result.figure(Pool.PREFORK, key),
        workerpool=result.figure(Pool.WORKERPOOL, key),
        null=result.figure(Pool.NULL, key),
        ratio=result.ratio(key, Pool.PREFORK),
        targets=tuple(_judge(result, key, measure)),
    )


def _judge(result: Results, key: str, measure: Measure) -> Iterator[tuple[str, float, bool]]:
    for target in measure.targets:
        if result.broker in target.brokers:
            reached = result.reached(key, target)
            if reached is not None:
                yield _asked(target, measure.unit), reached, target.met(reached)


def _asked(target: Target, unit: str) -> str:
    sign = "≥" if target.at_least else "≤"
    if target.of is None:
        return f"{sign} {target.bound:g} {unit}".strip()
    return f"{sign} {target.bound:g} × {target.of.name.lower()}"


# ── for people ───────────────────────────────────────────────────────────────────────────────


def table(found: Sequence[Line]) -> Table:
    """For the terminal."""
    shown = Table(title="This pool beside prefork, and a pool that runs nothing")
    for heading in _HEADINGS:
        shown.add_column(
            heading, justify="left" if heading in ("", "broker") else "right", no_wrap=not heading
        )
    scenario = ""
    for line in found:
        if line.scenario != scenario:
            shown.add_section()
            shown.add_row(f"[bold]{line.title}[/bold]")
            scenario = line.scenario
        shown.add_row(*_cells(line, met="[green]{}[/green]", missed="[red]{}[/red]"))
    return shown


def markdown(found: Sequence[Line], machine: Machine) -> str:
    """A table for each scenario."""
    parts = [f"Measured {machine}. Medians over the rounds."]
    for title in dict.fromkeys(line.title for line in found):
        own = [line for line in found if line.title == title]
        parts.append(f"### {title}\n\n{_rounds(own[0].rounds)}.\n\n{_markdown_table(own)}")
    return "\n\n".join(parts)


def _rounds(number: int) -> str:
    return "1 round" if number == 1 else f"{number} rounds"


def _markdown_table(found: Sequence[Line]) -> str:
    rows = [
        _HEADINGS,
        ("---", "---", *("---:" for _ in _HEADINGS[2:])),
        *(_cells(line, met="{}", missed="**{}**") for line in found),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(line: Line, *, met: str, missed: str) -> tuple[str, ...]:
    name = f"{line.measure} ({line.unit})" if line.unit else line.measure
    verdicts = (
        (met if good else missed).format(f"{reached:.3g}, {'met' if good else 'not met'}")
        for _, reached, good in line.targets
    )
    return (
        name,
        line.broker,
        *map(_number, (line.prefork, line.workerpool, line.null)),
        "" if line.ratio is None else f"{line.ratio:.2f}",
        "; ".join(asked for asked, _, _ in line.targets),
        "; ".join(verdicts),
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


# ── for files ────────────────────────────────────────────────────────────────────────────────


def write_json(path: Path, found: Sequence[Line], results: Sequence[Results], m: Machine) -> None:
    """Everything: the report's lines and the figures of every round."""
    rounds = [
        {
            "scenario": result.scenario.name,
            "broker": result.broker.name,
            "rounds": [{pool.name: row[pool] for pool in row} for row in result.rounds],
            "failures": result.failures,
        }
        for result in results
    ]
    whole = {
        "machine": dataclasses.asdict(m),
        "lines": [dataclasses.asdict(line) for line in found],
        "rounds": rounds,
    }
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")


def write_markdown(path: Path, text: str) -> None:
    """Put the results in their place in a document; in a new one there is nothing else.

    Raises:
        ValueError: the document has no place for them.
    """
    before = path.read_text() if path.exists() else f"{BEGIN}\n{END}\n"
    head, begin, rest = before.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no lines {BEGIN!r} and {END!r}")
    path.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}")


def _cpu_model() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    names = [row.partition(":")[2].strip() for row in info.splitlines() if "model name" in row]
    return names[0] if names else platform.machine()
