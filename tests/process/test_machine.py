"""What the machine or its cgroups have left."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from celery_workerpool.process.machine import Machine, cpu_seconds, private_share

MIB = 2**20
ALL_CPUS = len(os.sched_getaffinity(0))


def write(folder: Path, **files: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")
    return folder


def machine(root: Path, *lines: str) -> Machine:
    membership = root / "membership"
    membership.write_text("".join(f"{line}\n" for line in lines))
    return Machine(root, membership)


def test_the_least_of_all_limits_on_the_way_up_counts(tmp_path: Path) -> None:
    write(tmp_path / "pod", memory__max=300 * MIB, memory__current=100 * MIB)
    write(tmp_path / "pod/app", memory__max=200 * MIB, memory__current=80 * MIB, cpu__max="max 1")
    write(tmp_path / "pod", cpu__max="50000 100000")
    here = machine(tmp_path, "0::/pod/app")
    assert here.memory_left(1.0) == 120 * MIB
    assert here.memory_left(0.5) == 20 * MIB
    assert here.cpus() == min(0.5, ALL_CPUS)


def test_what_the_kernel_can_give_back_is_not_in_use(tmp_path: Path) -> None:
    stat = f"anon 1\ninactive_file {30 * MIB}\nactive_file 5"
    write(tmp_path, memory__max=100 * MIB, memory__current=90 * MIB, memory__stat=stat)
    assert machine(tmp_path, "0::/").memory_left(1.0) == 40 * MIB


def test_the_old_kind_of_cgroups(tmp_path: Path) -> None:
    files = {"memory__limit_in_bytes": 64 * MIB, "memory__usage_in_bytes": 60 * MIB}
    write(tmp_path / "memory/a", **files)
    write(tmp_path / "cpu,cpuacct/a", cpu__cfs_quota_us=20000, cpu__cfs_period_us=100000)
    here = machine(tmp_path, "5:memory:/a", "3:cpu,cpuacct:/a", "2:pids:/a", "1:name=systemd:/")
    assert here.memory_left(1.0) == 4 * MIB
    assert here.cpus() == 0.2


@pytest.mark.parametrize("path", ["/", "/docker/0123/not/visible/here"])
def test_without_limits_it_is_the_machines(tmp_path: Path, path: str) -> None:
    write(tmp_path, memory__max="max", memory__current=1, cpu__max="max 100000")
    here = machine(tmp_path, f"0::{path}")
    total = psutil.virtual_memory().total
    assert 0 < here.memory_left(1.0) <= total
    assert here.memory_left(0.0) < 0
    assert here.cpus() == ALL_CPUS


def test_where_there_are_no_cgroups(tmp_path: Path) -> None:
    here = Machine(tmp_path, tmp_path / "nowhere")
    assert here.memory_left(1.0) > 0
    assert here.cpus() == ALL_CPUS


def test_what_a_process_takes() -> None:
    share = private_share([os.getpid()])
    assert share is not None
    assert MIB < share <= psutil.Process().memory_info().rss * 1.1
    assert private_share([]) is None
    used = cpu_seconds([os.getpid(), 2**22 + 1])
    assert list(used) == [os.getpid()]
    assert used[os.getpid()] > 0
