"""Whoever dies, however: nobody is left alone, nothing is left over, and it is said."""

from __future__ import annotations

import os
import signal

import pytest

from .place import Place

pytestmark = pytest.mark.acceptance

#: Handlers of CUSTOM tasks: one that starts a process and lasts, and one that tells who runs it.
JOBS = """
import os, subprocess, sys, time

def last(file):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(file, "w") as out:
        out.write(str(child.pid))
    time.sleep(600)

def outlive():
    # The first time it lasts until its worker is killed.
    if not os.path.exists("first"):
        open("first", "w").close()
        time.sleep(600)
    return "again"

def who():
    return os.getpid()

def orphan():
    # Leaves its session and its parent, as daemons do.
    code = "import os, time; os.fork() and os._exit(0); os.setsid(); time.sleep(600)"
    subprocess.run([sys.executable, "-c", code], check=True)
"""

#: An owner with a task that lasts.
BUSY = """
    import time
    from pathlib import Path
    from celery_workerpool import create_worker_manager

    manager = create_worker_manager(
        min_workers=1, enable_auto_scaling=False, custom_modules=["jobs"]
    )
    manager.submit_task("CUSTOM", {"function": "jobs.last", "args": ["pid"]}, timeout=900)
    while not (Path("pid").exists() and Path("pid").read_text()):
        time.sleep(0.02)
    print("busy")
    input()
"""


@pytest.fixture(autouse=True)
def jobs(place: Place) -> None:
    (place.folder / "jobs.py").write_text(JOBS)


def test_an_owner_that_is_killed_takes_everything_along(place: Place) -> None:
    owner = place.start(BUSY)
    assert owner.line() == "busy"
    assert len(place.processes) > 5, "owner, host, broker, worker, fork server, child, its child"
    owner.kill(signal.SIGKILL)
    place.wait_until_gone()


def test_a_host_that_is_killed_takes_broker_and_worker_along(place: Place) -> None:
    owner = place.start(BUSY)
    assert owner.line() == "busy"
    os.kill(place.pid_of("embedded.host"), signal.SIGKILL)
    owner.kill()
    owner.process.wait()
    place_without_folder(place)
    # What it left in the folder is in nobody's way, and goes with the next host.
    assert place.run(SMALL) == "1\n"


def test_a_host_that_is_told_to_end_tidies_up(place: Place) -> None:
    owner = place.start(WATCHING)
    owner.line()
    os.kill(place.pid_of("embedded.host"), signal.SIGTERM)
    assert "told to end (SIGTERM)" in owner.line()
    owner.say()
    assert owner.wait() == 0


def test_owners_hear_that_the_broker_has_died_and_may_start_over(place: Place) -> None:
    owner = place.start(WATCHING)
    first = owner.line()
    os.kill(place.pid_of("unixsocket"), signal.SIGKILL)
    assert owner.line() == "the embedded broker has died, and the tasks in it are lost"
    owner.say()
    assert owner.line() != first, "another host"
    assert owner.wait() == 0


def test_a_worker_that_is_killed_is_started_again_and_takes_up_what_it_had(place: Place) -> None:
    output = place.start(
        """
        import time
        from pathlib import Path
        from celery_workerpool import create_worker_manager

        with create_worker_manager(
            min_workers=1, enable_auto_scaling=False, custom_modules=["jobs"]
        ) as manager:
            ids = [
                manager.submit_task("CUSTOM", {"function": "jobs.outlive"}, timeout=900),
                *(manager.submit_task("CUSTOM", {"function": "jobs.who"}) for _ in range(3)),
            ]
            while not Path("first").exists():
                time.sleep(0.02)
            print("busy")
            print(manager.result(ids[0], timeout=90))
            children = {manager.result(task_id, timeout=90) for task_id in ids[1:]}
            print(len(children), "child")
        """
    )
    assert output.line() == "busy"
    os.kill(place.pid_of("MainProcess]"), signal.SIGKILL)
    assert output.line() == "again"
    assert output.line() == "1 child"
    assert output.wait() == 0, output.report()


def test_what_tasks_leave_behind_goes_with_the_host(place: Place) -> None:
    place.run(
        """
        from celery_workerpool import create_worker_manager

        with create_worker_manager(min_workers=1, custom_modules=["jobs"]) as manager:
            manager.result(manager.submit_task("CUSTOM", {"function": "jobs.orphan"}), timeout=60)
        """
    )
    assert place.processes == {}


def test_shutting_down_waits_no_longer_than_it_is_told(place: Place) -> None:
    output = place.run(
        BUSY.replace(
            "    input()", "    manager.shutdown(wait=False, timeout=1)\n    print('down')"
        )
    )
    assert output == "busy\ndown\n"
    place.wait_until_gone()


@pytest.mark.parametrize(
    ("victim", "why"),
    [
        ("embedded.host", "the embedded broker and worker are gone"),
        ("unixsocket", "the embedded broker has died, and the tasks in it are lost"),
    ],
)
def test_tasks_end_with_their_host_and_the_next_has_another(
    place: Place, victim: str, why: str
) -> None:
    owner = place.start(LOSING)
    assert owner.line() == "busy"
    os.kill(place.pid_of(victim), signal.SIGKILL)
    for who in ("result", "aresult", "callback", "waiting"):
        assert owner.line() == f"{who} EmbeddedError {why}"
    assert owner.line() == f"events ['TaskFailed', 'TaskFailed', 'Error'] {why}"
    assert owner.line() == "next 1"
    assert owner.line() == "heard 1", "listeners hear of what the new host runs"
    assert owner.wait() == 0, owner.report()
    place.wait_until_gone()


def test_a_broker_that_dies_while_tasks_are_sent_is_named(place: Place) -> None:
    owner = place.start(SENDING)
    assert owner.line() == "ready"
    broker = place.pid_of("unixsocket")
    os.kill(broker, signal.SIGSTOP)
    owner.say()
    assert owner.line() == "sending"
    os.kill(broker, signal.SIGKILL)
    assert owner.line() == "the embedded broker has died, and the tasks in it are lost"
    assert owner.wait() == 0, owner.report()
    place.wait_until_gone()


#: Sends many tasks in one go, to a broker that does not answer.
SENDING = """
    import logging
    from celery_workerpool import EmbeddedError, create_worker_manager

    logging.disable()  # Only what is printed counts.
    with create_worker_manager(min_workers=1, enable_auto_scaling=False) as manager:
        manager.result(manager.submit_task("COMPRESSION", {"data": "x"}), timeout=60)
        manager.once("task_submitted", lambda event: print("sending", flush=True))
        print("ready", flush=True)
        input()
        try:
            manager.submit_many([("COMPRESSION", {"data": "x"})] * 100)
        except EmbeddedError as error:
            print(error, flush=True)
"""

#: Two tasks, one that runs and one that waits, until their host has died; then another task.
LOSING = """
    import asyncio, logging, threading, time
    from pathlib import Path
    from celery_workerpool import create_worker_manager

    logging.disable()  # Only what is printed counts.
    heard, told = [], threading.Event()

    def say(who, error):
        print(who, type(error).__name__, str(error).partition(": ")[2])

    def ended(error, result):
        heard.append(error)
        told.set()

    manager = create_worker_manager(
        min_workers=1, enable_auto_scaling=False, custom_modules=["jobs"]
    )
    events = []
    for name in ("error", "task_failed"):
        manager.on(name, events.append)
    runs = manager.submit_task(
        "CUSTOM", {"function": "jobs.last", "args": ["pid"]}, ended, timeout=900
    )
    while not (Path("pid").exists() and Path("pid").read_text()):
        time.sleep(0.02)
    waits = manager.submit_task("CUSTOM", {"function": "jobs.who"})
    print("busy")
    try:
        manager.result(runs, timeout=60)
    except Exception as error:
        say("result", error)
    try:
        asyncio.run(manager.aresult(runs, timeout=60))
    except Exception as error:
        say("aresult", error)
    told.wait(60)
    say("callback", heard[0])
    try:
        manager.result(waits, timeout=60)
    except Exception as error:
        say("waiting", error)
    while len(events) < 3:
        time.sleep(0.02)
    print("events", sorted((type(e).__name__ for e in events), reverse=True), events[0].error)
    done = []
    manager.on("task_completed", lambda event: done.append(event.task.id))
    task_id = manager.submit_task("COMPRESSION", {"data": "x"})
    print("next", manager.result(task_id, timeout=60)["input_bytes"])
    while done != [task_id]:
        time.sleep(0.02)
    print("heard", len(done))
    manager.shutdown()
"""

SMALL = """
    from celery_workerpool import create_worker_manager

    with create_worker_manager(
        min_workers=1, enable_auto_scaling=False, custom_modules=["jobs"]
    ) as manager:
        print(manager.result(manager.submit_task("COMPRESSION", {"data": "x"}), 60)["input_bytes"])
"""

#: An owner without tasks: says its host, waits for the host's end, says why, then starts another.
WATCHING = """
    from dataclasses import asdict
    from celery_workerpool.embedded import Embedded
    from celery_workerpool.embedded.app import worker_settings
    from celery_workerpool.manager import ManagerSettings

    settings = worker_settings(asdict(ManagerSettings(min_workers=1)))
    embedded = Embedded(settings)
    assert embedded.trouble() is None
    print(embedded.host_pid)
    while (why := embedded.trouble(1.0)) is None:
        pass
    assert embedded.trouble() == why
    print(why)
    embedded.close(1.0)
    input()
    again = Embedded(settings)
    print(again.host_pid)
    again.close(30.0)
"""


def place_without_folder(place: Place) -> None:
    from tests.support.waiting import wait_until

    wait_until(lambda: not place.processes, f"all is gone: {place.processes}", timeout=60.0)
    assert place.left, "the host could not tidy up"
