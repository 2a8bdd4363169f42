"""``python -m celery_workerpool``, which is ``celery-workerpool`` too."""

from __future__ import annotations

import os
import re
import signal
import tomllib

import pytest

from .place import ROOT, Place, Script

pytestmark = pytest.mark.acceptance

READY = re.compile(r"celery@\S+ is ready on (redis\+socket:///\S+/broker\.sock); Ctrl-C ends it")


def start(place: Place, *options: str, **environ: str) -> Script:
    return place.start_command("-m", "celery_workerpool", *options, **environ)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_says_when_it_is_ready_and_ends_when_it_is_told(place: Place, signum: int) -> None:
    command = start(place, "--min-workers", "1")
    assert READY.fullmatch(command.line())
    command.kill(signum)
    assert command.wait() == 0
    assert len(command.lines) == 1, command.report()
    assert place.processes == {}, "it returns when everything is gone"


def test_the_script_is_the_same(place: Place) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts["celery-workerpool"].partition(":")
    code = f"import sys; sys.exit(__import__({module!r}, fromlist=['x']).{name}())"
    command = place.start_command("-c", code, "--min-workers", "1")
    assert READY.fullmatch(command.line())
    command.kill(signal.SIGINT)
    assert command.wait() == 0


def test_scripts_with_the_same_settings_use_it(place: Place) -> None:
    command = start(place, "--max-workers", "3", "--task-timeout", "7.5")
    found = READY.fullmatch(command.line())
    assert found is not None
    url = place.run(
        """
        from celery_workerpool import create_worker_manager

        with create_worker_manager(max_workers=3, max_retries=9) as manager:
            manager.result(manager.submit_task("COMPRESSION", {"data": "x"}), timeout=60)
            print(manager.app.conf.broker_url)
        """
    )
    assert url.strip() == found[1]
    command.kill(signal.SIGINT)
    assert command.wait() == 0


def test_ctrl_c_before_it_is_ready_leaves_nothing(place: Place) -> None:
    command = start(place)
    place.pid_of("embedded.host")
    command.kill(signal.SIGINT)
    assert command.wait() == 0
    assert command.output == ""


def test_being_killed_leaves_nothing(place: Place) -> None:
    command = start(place, "--min-workers", "1")
    command.line()
    command.kill(signal.SIGKILL)
    place.wait_until_gone()


def test_when_its_broker_dies_it_says_so_and_fails(place: Place) -> None:
    command = start(place, "--min-workers", "1")
    command.line()
    os.kill(place.pid_of("unixsocket"), signal.SIGKILL)
    assert command.wait() == 1
    assert "the embedded broker has died" in command.output


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--min-workers", "many"], "argument --min-workers: invalid int value: 'many'"),
        (["--min-worker", "4"], "unrecognized arguments: --min-worker 4"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
        (["--min-workers", "9"], "--min-workers 9: expected at most max_workers (8)"),
        (["--task-timeout", "-1"], "--task-timeout -1.0: expected a number of at least 0.001"),
        (["stray"], "unrecognized arguments: stray"),
    ],
)
def test_a_wrong_option_is_named(place: Place, options: list[str], expected: str) -> None:
    command = start(place, *options)
    assert command.wait() == 2
    assert expected in command.output
    assert "Traceback" not in command.output
    assert place.left == []


def test_help_names_every_setting(place: Place) -> None:
    command = start(place, "--help")
    assert command.wait() == 0
    for name in ("min-workers", "max-worker-memory", "handler-modules", "no-enable-auto-scaling"):
        assert f"--{name}" in command.output
