"""The commands of the Makefile, with a stand-in for the virtual environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: A make that runs these tests must not pass its own options on.
UNWANTED = ("DIR", "POOL", "PYTHON", "MAKEFLAGS")
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
    environ = {k: v for k, v in os.environ.items() if k not in UNWANTED}
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


@pytest.mark.parametrize(
    ("interpreter", "complaint"),
    [
        (None, "there is no {}."),
        ("exit 1", "{} does not run."),
        ('case "$2" in *print*) echo 3.9;; *) exit 1;; esac', "{} is Python 3.9."),
    ],
    ids=["missing", "broken", "old"],
)
def test_set_up_says_which_python_it_needs(
    tmp_path: Path, interpreter: str | None, complaint: str
) -> None:
    python = tmp_path / "my python"
    if interpreter is not None:
        python.write_text(f"#!/bin/sh\n{interpreter}\n")
        python.chmod(0o755)
    done = subprocess.run(
        ["sh", str(ROOT / "tools/setup.sh"), str(tmp_path / "venv"), "demo"],
        env={**os.environ, "PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("setup: " + complaint.format(python))
    assert "Python 3.11 or newer" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_set_up_deletes_no_folder_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    done = subprocess.run(
        ["sh", str(ROOT / "tools/setup.sh"), str(tmp_path), "demo"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.endswith("exists and is no virtual environment; remove it\n")
    assert (tmp_path / "thesis.txt").exists()


def test_another_interpreter_than_that_of_the_environment_is_not_ignored(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    for extra in ("demo", "test"):
        (tmp_path / "venv" / f".{extra}").touch()
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho 3.99\n")
    other.chmod(0o755)

    def ask(python: object) -> subprocess.CompletedProcess[str]:
        command = ["make", "-C", str(ROOT), f"VENV={tmp_path / 'venv'}", f"PYTHON={python}"]
        environ = {k: v for k, v in os.environ.items() if k not in UNWANTED}
        return subprocess.run(
            [*command, "interpreter"], env=environ, capture_output=True, text=True, check=False
        )

    assert ask(sys.executable).returncode == 0
    refused = ask(other)
    assert refused.returncode != 0
    assert "not 3.99: make clean first, or choose VENV=folder\n" in refused.stderr


def test_ctrl_c_during_set_up_says_so_in_one_line(tmp_path: Path) -> None:
    # Stands for the interpreter: when it makes the environment it is interrupted as a terminal
    # would, all processes of the group, and complains as Python does.
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\ncase $2 in venv) trap 'echo Traceback >&2; exit 1' INT; kill -INT 0;;"
        " *print*) echo 3.12;; esac\n"
    )
    python.chmod(0o755)
    done = subprocess.run(
        ["sh", str(ROOT / "tools/setup.sh"), str(tmp_path / "venv"), "demo"],
        env={**os.environ, "PYTHON": str(python)},
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr == "setup: stopped; the next make goes on\n"
