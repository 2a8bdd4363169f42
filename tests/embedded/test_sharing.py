"""Workers of one's own, from all kinds of processes; nothing is left of them."""

from __future__ import annotations

import pytest

from .place import Place

pytestmark = pytest.mark.acceptance

#: Prints the worker's children, says what a task gave, and waits for a line before it ends.
USER = """
    from celery_workerpool import create_worker_manager

    with create_worker_manager(min_workers=1, enable_auto_scaling=False) as manager:
        def use():
            task_id = manager.submit_task("COMPRESSION", {"data": "x" * 1000})
            size = manager.result(task_id, timeout=60)["input_bytes"]
            print(size, [child.pid for child in manager.get_worker_status(timeout=30)])

        use()
        while input() == "again":
            use()
"""


def test_from_a_script(place: Place) -> None:
    output = place.run(
        """
        from celery_workerpool import create_worker_manager

        with create_worker_manager(min_workers=1, max_workers=2) as manager:
            task_id = manager.submit_task("COMPRESSION", {"data": "x" * 1000})
            print(manager.result(task_id, timeout=60)["input_bytes"])
        """
    )
    assert output == "1000\n"
    assert place.processes == {}, "shutdown returns when everything is gone"
    assert place.left == []


def test_a_manager_that_is_not_used_starts_nothing(place: Place) -> None:
    output = place.run(
        """
        import os
        from celery_workerpool import create_worker_manager

        with create_worker_manager():
            print(os.listdir(os.environ["TMPDIR"]))
        """
    )
    assert output == "[]\n"


def test_a_script_that_forgets_to_shut_down_leaves_nothing(place: Place) -> None:
    output = place.run(
        """
        from celery_workerpool import create_worker_manager

        manager = create_worker_manager(min_workers=1)
        print(manager.result(manager.submit_task("COMPRESSION", {"data": "x"}), 60)["algorithm"])
        """
    )
    assert output == "gzip\n"
    place.wait_until_gone()


def test_two_processes_share_a_worker_and_the_second_goes_on_without_the_first(
    place: Place,
) -> None:
    first, second = place.start(USER), place.start(USER)
    said = first.line()
    assert said.startswith("1000 [") and said != "1000 []"
    assert second.line() == said
    first.say("enough")
    assert first.wait() == 0, first.report()
    second.say("again")
    assert second.line() == said, "the same worker, still there"
    second.say("enough")
    assert second.wait() == 0, second.report()


def test_other_settings_are_another_worker(place: Place) -> None:
    first, second = place.start(USER), place.start(USER.replace("min_workers=1", "min_workers=2"))
    assert first.line() != second.line()
    for script in (first, second):
        script.say("enough")
        assert script.wait() == 0, script.report()


def test_twenty_processes_that_start_at_the_same_moment_share_one(place: Place) -> None:
    scripts = [place.start(USER) for _ in range(20)]
    assert len({script.line() for script in scripts}) == 1
    commands = list(place.processes.values())
    assert sum("embedded.host" in command for command in commands) == 1
    assert sum("unixsocket" in command for command in commands) == 1
    for script in scripts:
        script.say("enough")
    assert [script.wait() for script in scripts] == [0] * 20


@pytest.mark.parametrize("used", [False, True], ids=["unused", "used before the fork"])
def test_a_manager_made_before_the_fork_serves_parent_and_children(
    place: Place, used: bool
) -> None:
    output = place.run(
        """
        import os, sys
        from celery_workerpool import create_worker_manager

        manager = create_worker_manager(min_workers=2, enable_auto_scaling=False)

        def use(who):
            task_id = manager.submit_task("COMPRESSION", {"data": "x"}, metadata={"who": who})
            manager.result(task_id, timeout=60)
            status = manager.get_task(task_id).status.name
            # In one piece: the others write to the same pipe.
            sys.stdout.write(f"{who} {status} {manager.app.conf.broker_url}\\n")

        if sys.argv[1] == "True":
            use("parent")
        children = []
        for number in range(3):
            if not (pid := os.fork()):
                use(f"child{number}")
                manager.shutdown()
                os._exit(0)
            children.append(pid)
        assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
        use("parent")
        manager.shutdown()
        """,
        str(used),
    )
    lines = sorted(set(map(tuple, map(str.split, output.splitlines()))))
    assert [line[:2] for line in lines] == [
        ("child0", "COMPLETED"),
        ("child1", "COMPLETED"),
        ("child2", "COMPLETED"),
        ("parent", "COMPLETED"),
    ]
    assert len({line[2] for line in lines}) == 1


def test_from_asyncio(place: Place) -> None:
    output = place.run(
        """
        import asyncio, contextlib
        from celery_workerpool import create_worker_manager

        async def main():
            manager = create_worker_manager(min_workers=1)
            try:
                async with contextlib.aclosing(manager.events("task_completed")) as events:
                    following = asyncio.ensure_future(anext(events))
                    task_id = await manager.asubmit_task("COMPRESSION", {"data": "x" * 1000})
                    result = await manager.aresult(task_id, timeout=60)
                    event = await asyncio.wait_for(following, 60)
                print(result["input_bytes"], event.task.id == task_id, event.task.status.name)
            finally:
                await manager.ashutdown()

        asyncio.run(main())
        """
    )
    assert output.splitlines()[0] == "1000 True COMPLETED"


def test_owners_that_come_and_go_always_find_a_broker(place: Place) -> None:
    code = """
        import random, sys
        from pathlib import Path
        from urllib.parse import unquote
        from celery_workerpool.embedded import Embedded, server
        from celery_workerpool.manager import ManagerSettings
        from celery_workerpool.embedded.app import worker_settings
        from dataclasses import asdict

        settings = worker_settings(asdict(ManagerSettings(min_workers=1)))
        for _ in range(6):
            embedded = Embedded(settings)
            assert server.answers(Path(unquote(embedded.broker_url.removeprefix("redis+socket://"))))
            embedded.close(random.uniform(0.0, 1.5))
    """
    scripts = [place.start(code) for _ in range(4)]
    for script in scripts:
        assert script.wait() == 0, script.report()
