"""What the demo draws, without running it."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("rich")
from rich.console import Console

from demo.display import LiveDisplay
from demo.model import COMPRESS, COUNT, ENCRYPT, KINDS, Child, Counts, Progress, TaskRecord
from demo.report import make_report
from demo.summary import print_summary


def screen(progress: Progress, width: int = 110) -> list[str]:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(LiveDisplay(console)._screen(progress))
    return capture.get().splitlines()


def test_every_child_is_listed_with_what_it_does_now() -> None:
    now = time.time()
    long = TaskRecord(COMPRESS, "huge.bin", started=now - 20)
    progress = Progress({kind: Counts(10) for kind in KINDS}, begin=now - 40)
    progress.children[12] = Child(12, tasks=1, memory=50_000_000, last="encryption of small.txt")
    progress.running = {11: long, 12: None, 13: None}
    rows = {line.split()[1]: line for line in screen(progress) if line.startswith(" child ")}

    assert list(rows) == ["11", "12", "13"]
    assert rows["11"].split()[2:4] == ["0", "tasks"]
    assert rows["11"].rstrip().endswith(" s  compression of huge.bin")
    assert "1 task " in rows["12"] and "50.0 MB" in rows["12"]
    assert rows["12"].rstrip().endswith("last: encryption of small.txt")
    assert rows["13"].rstrip().endswith("idle")


def test_the_figures_of_the_closing_tables_are_whole_at_110_columns() -> None:
    values = {"bytes": 19_900_000, "lines": 1, "words": 1}
    packed = {"input_bytes": 19_900_000, "bytes": 3_840_700}
    records = [
        TaskRecord(kind, f"{number}{'long' * 30}.py", 1.0, 1.0, 99.4, value)
        for number in range(6)
        for kind, value in ((COUNT, values), (COMPRESS, packed), (ENCRYPT, packed))
    ]
    console = Console(width=110, force_terminal=False)
    with console.capture() as capture:
        report = make_report(records, [], 100.0)
        print_summary(console, report, default_folder=True)

    rows = [line for line in capture.get().splitlines() if "long.py" in line]
    assert len(rows) == 5
    for row in rows:
        cells = row.split()
        assert cells[1:4] == cells[5:] == ["19.9", "MB", "19.3%"]
