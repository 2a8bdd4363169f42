"""What ``celery workerpool status`` makes of a worker's answer."""

from __future__ import annotations

from typing import Any

import click

from celery_workerpool.cli.status import block

BUSY = {
    "number": 2,
    "pid": 4711,
    "state": "BUSY",
    "task": "app.resize[1f]",
    "runtime": 36.5,
    "progress": (24.0, "step 36"),
    "tasks_done": 1200,
    "rss": 54 << 20,
    "load": 0.972,
    "condition": "",
    "age": 75.0,
    "going": "to be replaced: pool restart",
}
STARTING = {
    "number": 10,
    "pid": None,
    "state": "STARTING",
    "task": None,
    "runtime": None,
    "progress": None,
    "tasks_done": 0,
    "rss": None,
    "load": None,
    "condition": "",
    "age": 0.1,
    "going": "",
}


def lines(**reply: Any) -> list[str]:
    return click.unstyle(block("w@host", {"loop_lag": 0.0, "ended": {}, **reply})).splitlines()


def test_a_line_says_what_a_child_does_how_far_it_is_and_why_it_will_go() -> None:
    assert lines(target=2, running=1, waiting=3, children=[BUSY, STARTING]) == [
        "w@host  1 of 2 children busy, 3 tasks wait",
        "  CHILD   PID  STATE     TASKS    MEMORY  CPU    AGE",
        "      2  4711  BUSY      1,200  54.0 MiB  97%   1:15  app.resize[1f] for 36.5 s, "
        "24 %: step 36; to be replaced: pool restart",
        "     10     -  STARTING      0         -    -  0.1 s",
    ]


def test_one_is_not_many() -> None:
    assert lines(target=1, running=0, waiting=1, children=[]) == [
        "w@host  0 of 1 child busy, 1 task waits",
        "  CHILD  PID  STATE  TASKS  MEMORY  CPU  AGE",
    ]


def test_tasks_that_wait_for_others_are_told_apart() -> None:
    head, *_ = lines(target=1, running=0, waiting=0, parked=1200, children=[])
    assert head == "w@host  0 of 1 child busy, 0 tasks wait, 1,200 for others"


def test_how_children_have_ended_and_what_is_in_quarantine() -> None:
    ended = {"crashed": 1, "recycled_tasks": 1200, "killed_time_limit": 1}
    head, ends, *_ = lines(
        target=1, running=0, waiting=0, parked=3, quarantined=2, ended=ended, children=[]
    )
    assert head == "w@host  0 of 1 child busy, 0 tasks wait, 3 for others, 2 in quarantine"
    assert ends == ("  children ended: 1,200 recycled (tasks), 1 crashed, 1 killed (time limit)")


def test_an_idle_child_that_will_go_says_why() -> None:
    idle = {**STARTING, "state": "IDLE", "going": "leaving: 2 are enough"}
    assert lines(target=1, running=0, waiting=0, children=[idle])[-1].endswith(
        "  0.1 s  leaving: 2 are enough"
    )


def test_how_the_size_follows_the_load() -> None:
    last = {"before": 2, "target": 8, "reason": "6 waiting", "ago": 4.1}
    scaling = {"min": 2, "max": 8, "dry_run": False, "last": last}
    empty = {"target": 8, "running": 0, "waiting": 0, "children": []}
    line = "  scales from 2 to 8; 4.1 s ago: 2 to 8: 6 waiting"
    assert lines(**empty, scaling=scaling)[1] == line
    held = {**last, "target": 2, "reason": "no memory"}
    shown = lines(**empty, scaling={**scaling, "dry_run": True, "last": held})[1]
    assert shown == "  scales from 2 to 8 (dry run); 4.1 s ago: 2 as before: no memory"
    assert lines(**empty, scaling={**scaling, "last": None})[1] == "  scales from 2 to 8"
    assert len(lines(**empty, scaling=None)) == 2


def test_an_unhealthy_child_says_what_is_wrong_and_a_late_worker_how_late_it_is() -> None:
    stopped = {**BUSY, "state": "UNHEALTHY", "condition": "stopped (state T)", "going": ""}
    head, _, line = lines(target=1, running=1, waiting=0, loop_lag=2.5, children=[stopped])
    assert head.endswith("0 tasks wait, main process late by 2.5 s in the last minute")
    assert "UNHEALTHY" in line
    assert line.endswith("24 %: step 36; stopped (state T)")
