"""The commands of the Makefile, with a stand-in for the virtual environment."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment that is set up, as make sees it; its python prints its arguments."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    python.write_text("#!/bin/sh\nfor argument; do printf '%s\\n' \"$argument\"; done\n")
    python.chmod(0o755)
    for extra in ("demo", "test"):
        (venv / f".{extra}").touch()
    return venv


def make(*arguments: str) -> list[str]:
    """Run make here; the lines it prints."""
    # A make that runs these tests must not pass its own options on.
    environ = {k: v for k, v in os.environ.items() if k not in ("DIR", "POOL", "MAKEFLAGS")}
    command = ["make", "--no-print-directory", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_make_alone_lists_the_commands() -> None:
    lines = "\n".join(make())
    for command in ("make demo", "make test", "make lint", "make bench"):
        assert command in lines


@pytest.mark.parametrize("folder", ["plain", "with blanks", 'it\'s "quoted"; $(false)', "-dash"])
def test_any_folder_can_be_given_to_the_demo(venv: Path, folder: str) -> None:
    lines = make("demo", f"VENV={venv}", "DIR=" + folder.replace("$", "$$"))
    assert lines == ["-m", "demo", "--", folder]


def test_the_demo_can_run_on_another_pool(venv: Path) -> None:
    assert make("demo", f"VENV={venv}", "POOL=prefork") == [
        "-m",
        "demo",
        "--pool",
        "prefork",
        "--",
    ]
