"""Sizes over time as a picture, and figures as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from .loads import LoadCase
from .simulation import Run

WIDTH, HEIGHT, GAP = 420, 120, 52
MARGIN, TOP = 44, 64
COLUMNS = 2
CELERY, OURS, DEMAND = "#d9822b", "#1f6feb", "#d0d7de"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the same load does to the two."""

    case: LoadCase
    celery: Run
    ours: Run


def table(comparisons: Iterable[Comparison]) -> str:
    """Markdown."""
    lines = [
        "| Load | | Changes of size | Idle | Waited | Per task |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for one in comparisons:
        for name, run in (("Celery", one.celery), ("here", one.ours)):
            figures = f"{run.idle_seconds:,.0f} s | {run.waited:,.2f} s | {run.lag * 1000:,.1f} ms"
            lines.append(f"| {one.case.title} | {name} | {run.decisions} | {figures} |")
    return "\n".join(lines) + "\n"


def picture(comparisons: Sequence[Comparison], high: int) -> str:
    """An SVG: a panel for each load, with the work there is and both sizes."""
    rows = -(-len(comparisons) // COLUMNS)
    width = COLUMNS * (WIDTH + MARGIN) + MARGIN
    height = TOP + rows * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12" fill="#57606a">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *_legend(),
    ]
    for index, comparison in enumerate(comparisons):
        x = MARGIN + index % COLUMNS * (WIDTH + MARGIN)
        y = TOP + index // COLUMNS * (HEIGHT + GAP)
        parts += [f'<g transform="translate({x} {y})">', *_panel(comparison, high), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def _legend() -> Iterable[str]:
    x = MARGIN
    for colour, text in (
        (DEMAND, "work that is there"),
        (CELERY, "children, Celery's autoscaler"),
        (OURS, "children, this pool"),
    ):
        yield f'<rect x="{x}" y="14" width="14" height="10" fill="{colour}"/>'
        yield f'<text x="{x + 20}" y="23">{escape(text)}</text>'
        x += 40 + 7 * len(text)


def _panel(one: Comparison, high: int) -> Iterable[str]:
    span, top = one.case.span, high + 1

    def at(when: float, count: float) -> str:
        return f"{when / span * WIDTH:.1f},{HEIGHT - min(count, top) / top * HEIGHT:.1f}"

    yield f'<text x="0" y="-8" fill="#24292f">{escape(one.case.title)}</text>'
    for count in (0, high // 2, high):
        level = HEIGHT - count / top * HEIGHT
        yield f'<line x1="0" x2="{WIDTH}" y1="{level:.1f}" y2="{level:.1f}" stroke="#eaeef2"/>'
        yield f'<text x="-6" y="{level + 4:.1f}" text-anchor="end">{count}</text>'
    area = " ".join(at(when, count) for when, count in _steps(_demand(one.case), span))
    yield f'<polygon points="{at(0, 0)} {area} {at(span, 0)}" fill="{DEMAND}"/>'
    for run, colour in ((one.celery, CELERY), (one.ours, OURS)):
        line = " ".join(at(when, count) for when, count in _steps(run.sizes, span))
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
    for part in range(5):
        when = span * part / 4
        anchor = {0: "start", 4: "end"}.get(part, "middle")
        yield (
            f'<text x="{WIDTH * part / 4:.0f}" y="{HEIGHT + 16}" text-anchor="{anchor}">'
            f"{when / 60:g} min</text>"
        )


def _demand(case: LoadCase, resolution: int = 200) -> list[tuple[float, float]]:
    """How many tasks would run on average if each started at once."""
    width = case.span / resolution
    work = [0.0] * resolution
    for task in case.tasks:
        begin, end = task.at, min(task.at + task.runs, case.span)
        while begin < end:
            slot = min(int(begin / width), resolution - 1)
            until = min(end, (slot + 1) * width) if slot < resolution - 1 else end
            work[slot] += max(until - begin, 0.0)
            begin = until if until > begin else end
    return [(index * width, spent / width) for index, spent in enumerate(work)]


def _steps(
    values: Sequence[tuple[float, float]] | Sequence[tuple[float, int]], span: float
) -> Iterable[tuple[float, float]]:
    for index, (when, value) in enumerate(values):
        yield when, value
        yield (values[index + 1][0] if index + 1 < len(values) else span), value
