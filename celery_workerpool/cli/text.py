"""Figures as people read them, and tables of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Collection[int]
) -> Iterator[str]:
    """The lines of a table; columns whose index is in ``numbers`` are flush right."""
    lines = [columns, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    for line in lines:
        cells = [
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()


def age(seconds: float) -> str:
    """``"3.2 s"``, ``"5:07"``, ``"2:05:07"``, ``"3 d 2:05:07"``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if not days and not hours:
        return f"{minutes}:{rest:02}"
    clock = f"{hours}:{minutes:02}:{rest:02}"
    return f"{days} d {clock}" if days else clock


def span(seconds: float | None) -> str:
    """``"0.4 ms"``, ``"85 ms"``, ``"3.2 s"``, and as :func:`age` from a minute on."""
    if seconds is None:
        return "-"
    if seconds >= 0.9995:
        return age(seconds)
    return f"{seconds * 1000:.{int(seconds < 0.00995)}f} ms"
