"""What ``celery workerpool quarantine list`` prints."""

from __future__ import annotations

import click

from celery_workerpool.cli.quarantine import block


def lines(reply: dict[str, object]) -> list[str]:
    return click.unstyle(block("w1@host", reply, now=1200.0)).splitlines()


def test_a_line_for_each_task() -> None:
    task = {
        "id": "t-1",
        "name": "shop.crash",
        "crashes": 3,
        "error": "Worker exited prematurely: signal 11 (SIGSEGV).",
        "when": 1000.0,
        "args": "(1,)",
        "kwargs": "{}",
    }
    title, columns, line = lines({"quarantined": [task]})
    assert title == "w1@host  1 in quarantine"
    assert columns.split() == ["TASK", "CRASHES", "AGO"]
    assert " ".join(line.split()) == (
        "shop.crash[t-1] 3 3:20 (1,) {}: Worker exited prematurely: signal 11 (SIGSEGV)."
    )


def test_workers_that_have_none_say_so() -> None:
    assert lines({"quarantined": []}) == ["w1@host  no task in quarantine"]
    assert lines({"error": "runs another pool: x"}) == ["w1@host  runs another pool: x"]
