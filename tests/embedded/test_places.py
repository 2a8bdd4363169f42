"""Which folder a host has, and who may come in."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from celery_workerpool.embedded import Embedded, client, places
from celery_workerpool.embedded.app import WORKER_SETTINGS, worker_settings
from celery_workerpool.manager import ManagerSettings


def settings(**more: Any) -> dict[str, Any]:
    return worker_settings(asdict(ManagerSettings(**more)))


@pytest.fixture(autouse=True)
def runtime(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("r")
    monkeypatch.setattr(places, "_base", lambda: folder)
    return folder


def test_the_worker_s_settings_are_those_that_the_manager_passes_on() -> None:
    own = {"task_timeout", "max_retries", "retry_delay", "retry_max_delay"}
    own |= {"max_task_queue_size", "backpressure_threshold"}
    assert set(asdict(ManagerSettings())) == own | set(WORKER_SETTINGS)


def test_it_depends_on_the_worker_s_settings_and_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = places.folder_for(settings())
    assert places.folder_for(settings(max_retries=9)) == here
    assert places.folder_for(settings(min_workers=3)) != here
    monkeypatch.chdir(tmp_path)
    assert places.folder_for(settings()) != here


def test_the_module_path_counts_where_modules_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with_modules = settings(handler_modules=["handlers"])
    plain, named = places.folder_for(settings()), places.folder_for(with_modules)
    monkeypatch.syspath_prepend("/elsewhere")
    assert places.folder_for(settings()) == plain
    assert places.folder_for(with_modules) != named


def test_nobody_else_can_look_into_it() -> None:
    folder = places.folder_for(settings())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700


def test_clearing_removes_all_of_it(runtime: Path) -> None:
    folder = places.folder_for(settings())
    for name in (places.LOCK, places.BROKER, places.LOG):
        (folder / name).touch()
    (folder / "more").mkdir()
    (folder / "more" / "deep").touch()
    places.clear(folder)
    assert list(runtime.iterdir()) == []
    places.clear(folder)  # Again: it is gone, and that is right.


def test_clearing_leaves_the_folders_of_others(runtime: Path) -> None:
    mine, other = places.folder_for(settings()), places.folder_for(settings(min_workers=3))
    places.clear(mine)
    assert not mine.exists()
    assert other.exists()


@pytest.fixture
def share() -> Iterator[Embedded]:
    embedded = object.__new__(Embedded)  # Without a host.
    embedded._settings = settings()
    yield embedded
    places.clear(places.folder_for(settings()))


def test_one_at_a_time(share: Embedded) -> None:
    inside, leave, then = threading.Event(), threading.Event(), threading.Event()

    def second() -> None:
        inside.wait()
        with share._locked():
            assert leave.is_set()
            then.set()

    thread = threading.Thread(target=second)
    thread.start()
    with share._locked():
        inside.set()
        leave.set()
    assert then.wait(10)
    thread.join()


def test_a_child_that_was_forked_meanwhile_does_not_keep_the_lock(share: Embedded) -> None:
    release_r, release_w = os.pipe()
    with share._locked():
        if not (pid := os.fork()):
            os.close(release_w)
            os.read(release_r, 1)  # End of file: the test is over.
            os._exit(0)
    got = threading.Event()

    def come_in() -> None:
        with share._locked():
            got.set()

    thread = threading.Thread(target=come_in)
    thread.start()
    try:
        assert got.wait(10)
    finally:
        os.close(release_w)
        os.close(release_r)
        os.waitpid(pid, 0)
        thread.join()


def test_who_waited_for_a_folder_that_has_gone_gets_a_new_one(share: Embedded) -> None:
    with share._locked() as folder:
        lock = (folder / places.LOCK).stat().st_ino
        found: list[int] = []

        def come_in() -> None:
            with share._locked() as again:
                found.append((again / places.LOCK).stat().st_ino)

        thread = threading.Thread(target=come_in)
        thread.start()
        keep = os.open(folder / places.LOCK, os.O_RDONLY)  # So that its number is not used again.
        places.clear(folder)
    thread.join(10)
    os.close(keep)
    assert found and found[0] != lock


def test_waiting_for_a_descriptor_takes_any_number() -> None:
    read, write = os.pipe()
    high = 1500
    os.dup2(read, high)
    try:
        assert not client._readable(high, 0.0)
        os.write(write, b"x")
        assert client._readable(high, 10.0)
    finally:
        for fd in (read, write, high):
            os.close(fd)
