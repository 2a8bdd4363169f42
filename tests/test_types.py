"""The words that people read about lost tasks and sizes."""

from __future__ import annotations

import pytest

from celery_workerpool.types import Loss, LossCause, TaskPriority, mebibytes

MIB = 2**20


def test_a_lower_value_runs_sooner() -> None:
    assert sorted(TaskPriority) == [
        TaskPriority.CRITICAL,
        TaskPriority.HIGH,
        TaskPriority.NORMAL,
        TaskPriority.LOW,
    ]


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, "unknown"), (0, "0.0 MiB"), (MIB, "1.0 MiB"), (512 * MIB + MIB // 2, "512.5 MiB")],
)
def test_sizes(size: int | None, text: str) -> None:
    assert mebibytes(size) == text


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (
            Loss(LossCause.EXITED, 7, -11, "signal 11 (SIGSEGV)", 64 * MIB, 0.25, False),
            "Worker exited prematurely: signal 11 (SIGSEGV) "
            "(pid 7, 64.0 MiB resident 0.2 s before its end, no OOM kill).",
        ),
        (
            Loss(LossCause.EXITED, 7, -9, "signal 9 (SIGKILL)", 64 * MIB, 1.0, True),
            "Worker exited prematurely: signal 9 (SIGKILL) (pid 7, 64.0 MiB resident "
            "1.0 s before its end, killed by the kernel's OOM killer).",
        ),
        (
            Loss(LossCause.EXITED, None, None, "unknown, its fork server is gone"),
            "Worker exited prematurely: unknown, its fork server is gone "
            "(pid None, memory never sampled).",
        ),
        (
            Loss(LossCause.MEMORY, 7, -9, "", 200 * MIB, 0.0, None, 150 * MIB),
            "Memory limit of 150.0 MiB exceeded: child killed "
            "(pid 7, 200.0 MiB resident 0.0 s before its end).",
        ),
        (
            Loss(LossCause.SHUTDOWN, 7, None, ""),
            "Worker was killed by a cold shutdown (pid 7, memory never sampled).",
        ),
    ],
    ids=["crash", "out of memory", "server lost", "memory limit", "cold shutdown"],
)
def test_a_loss_says_what_is_known(loss: Loss, text: str) -> None:
    assert str(loss) == text
