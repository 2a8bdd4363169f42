"""Arguments and results of any size pass, and no other child waits for them."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.pool import Pool

from . import victims

KIB, MB = 1024, 1_000_000


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_every_size_passes_both_ways(method: str) -> None:
    sizes = [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, MB, 10 * MB]
    # Frames that end with a read, just before and just after it.
    sizes += range(64 * KIB - 64, 64 * KIB, 7)
    with Pool(1, spawn=method == "spawn") as pool:
        for size in sizes:
            payload = os.urandom(size)
            call = pool.run(victims.echo, payload)
            assert call.outcome == "value"
            assert call.value == payload, size


def test_small_tasks_go_on_while_100_megabytes_are_on_their_way() -> None:
    """The child is stopped in the middle of each transfer, so that it cannot be over."""
    payload = bytes(100 * MB)
    with Pool(2) as pool:
        large = pool.submit(victims.echo, payload)
        os.kill(large.pid or 0, signal.SIGSTOP)
        (worker,) = (w for w in pool.workers() if w.pid == large.pid)

        run_small_tasks(pool)
        assert worker.channel.unsent, "its arguments are on their way"

        os.kill(large.pid or 0, signal.SIGCONT)
        received = worker.channel._reader._partial
        pool.until(lambda: len(received) > MB, "its result is on its way")
        os.kill(large.pid or 0, signal.SIGSTOP)
        run_small_tasks(pool)
        assert not large.outcome
        assert not worker.channel.unsent

        os.kill(large.pid or 0, signal.SIGCONT)
        pool.finish(large)
        assert large.value == payload


def run_small_tasks(pool: Pool) -> None:
    small = [pool.submit(victims.echo, n) for n in range(50)]
    pool.finish(*small)
    assert [call.value for call in small] == list(range(50))


def test_a_child_that_dies_in_the_middle_of_a_transfer_costs_that_task_only() -> None:
    with Pool(1) as pool:
        large = pool.submit(victims.echo, bytes(10 * MB))
        os.kill(large.pid or 0, signal.SIGSTOP)
        assert pool.workers()[0].channel.unsent
        os.kill(large.pid or 0, signal.SIGKILL)
        pool.finish(large)
        assert large.loss is not None and large.loss.exitcode == -9

        large = pool.submit(victims.echo, bytes(10 * MB))
        received = pool.workers()[0].channel._reader._partial
        pool.until(lambda: len(received) > MB, "its result is on its way")
        os.kill(large.pid or 0, signal.SIGKILL)
        pool.finish(large)
        assert large.loss is not None and large.loss.exitcode == -9
        run_small_tasks(pool)
