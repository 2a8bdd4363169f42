"""The demo, run as a user runs it: its numbers, and that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("rich")
server = pytest.importorskip("celery_workerpool.embedded.server")
for library in ("cryptography", "numpy"):
    pytest.importorskip(library)
pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
    pytest.mark.skipif(server.find() is None, reason="no Valkey server"),
]

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
#: Runs a command in which root cannot read what it has forbidden itself: it drops
#: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH with PR_CAPBSET_DROP. Has no effect for others.
DROP = (
    "import ctypes, os, sys; libc = ctypes.CDLL(None)\n"
    "for capability in (1, 2): libc.prctl(24, capability, 0, 0, 0)\n"
    "os.execv(sys.argv[1], sys.argv[1:])"
)
UNPRIVILEGED = [sys.executable, "-c", DROP]

Start = Callable[..., "Demo"]


class Demo:
    """A running ``python -m demo``."""

    def __init__(self, temp: Path, *args: str | Path, **environ: str) -> None:
        self.temp = temp
        self.run_id = uuid.uuid4().hex
        self.lines: list[str] = []
        self._news = threading.Condition()
        private = ("COLUMNS", "XDG_RUNTIME_DIR")
        env = {key: value for key, value in os.environ.items() if key not in private}
        env |= {
            "TEST_RUN_ID": self.run_id,
            "PYTHONFAULTHANDLER": "1",
            "SPT_NOENV": "1",  # setproctitle must not overwrite the environment.
            "TMPDIR": str(temp),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])]),
            **environ,
        }
        self.process = subprocess.Popen(
            [*UNPRIVILEGED, sys.executable, "-m", "demo", "--concurrency", "2", *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, text: str) -> None:
        """Return as soon as a line has the text."""
        with self._news:
            found = self._news.wait_for(
                lambda: any(text in line for line in self.lines) or self._ended, PATIENCE
            )
            assert found and any(text in line for line in self.lines), self.output

    def finish(self) -> int:
        """Wait for the end; the exit code."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # So that its output says where it hangs.
            self._reader.join(PATIENCE)
            raise AssertionError(self.output) from None
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def members(self) -> dict[int, str]:
        """Every process that belongs to the demo, with its command line."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self._owns(entry):
                    command = (entry / "cmdline").read_bytes()
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode()
        return found

    def left_overs(self) -> tuple[dict[int, str], list[str]]:
        """Processes and files that are left."""
        return self.members(), [path.name for path in self.temp.iterdir()]

    def cell(self, row: str, *columns: int) -> list[str]:
        """Cells of the row of the closing table that begins with a word."""
        for line in self.lines:
            cells = re.split(r"\s{2,}", line.strip())
            if cells[0] == row:
                return [cells[column] for column in columns]
        raise AssertionError(f"no row {row!r} in\n{self.output}")

    def _owns(self, entry: Path) -> bool:
        tag = f"TEST_RUN_ID={self.run_id}".encode()
        if tag in (entry / "environ").read_bytes().split(b"\0"):
            return (entry / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        links = (os.readlink(link) for link in (entry / "fd").iterdir())
        return any(link.startswith(f"{self.temp}/") for link in links)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def _ended(self) -> bool:
        return self.process.poll() is not None and not self._reader.is_alive()


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.02)
    return True


@pytest.fixture
def start() -> Iterator[Start]:
    """Start demos; none outlives the test."""
    # Not below tmp_path, which is too long for a socket. The blank is there on purpose.
    temp = Path(tempfile.mkdtemp(prefix="demo test-"))
    started: list[Demo] = []

    def start_demo(*args: str | Path, **environ: str) -> Demo:
        started.append(Demo(temp, *args, **environ))
        return started[-1]

    yield start_demo
    for demo in started:
        for pid in demo.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        demo.finish()
    shutil.rmtree(temp)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of many kinds; two of them cannot be read in the end."""
    root = tmp_path / "files"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "text.txt").write_text("one two three two\nlast line" * 1000)
    (root / "deep" / "spaces [red] and ünïcode.txt").write_text("a\tb\n\nc  d \n" * 300)
    (root / "deep" / "er" / "zeros.bin").write_bytes(bytes(3_000_000))
    (root / "deep" / "er" / "random.bin").write_bytes(random.Random(7).randbytes(50_000))
    Path(os.fsdecode(bytes(root / "deep") + b"/not-utf8-\xff.txt")).write_text("word " * 400)
    (root / "empty").touch()
    (root / "vanishes.txt").write_text("gone")
    (root / "locked.txt").write_text("secret")
    (root / "locked.txt").chmod(0)
    (root / "link.txt").symlink_to(root / "text.txt")
    (root / "loop").symlink_to(root)
    return root


def test_the_closing_table_has_the_true_numbers(start: Start, folder: Path) -> None:
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(found) == 8
    contents = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in found
        if path.name not in ("locked.txt", "vanishes.txt") and "not-utf8" not in path.name
    }
    demo = start(folder)
    demo.wait_for("Starting Valkey")
    (folder / "vanishes.txt").unlink()

    assert demo.finish() == 0, demo.output
    assert f"8 files, in {folder}" in re.sub(r", [\d.]+ .?B", "", demo.output)
    assert "25 tasks in " in demo.output
    assert " 9 failed. " in demo.output
    size = sum(map(len, contents.values()))
    words = sum(len(data.split()) for data in contents.values())
    assert f"Read: 5 files, {size / 1e6:.1f} MB, " in demo.output
    assert f" lines, {words:,} words." in demo.output
    for priority in ("HIGH", "NORMAL", "LOW"):
        assert demo.cell(priority, 2, 3) == ["5", "3"], demo.output
    assert demo.cell("CRITICAL", 2, 3) == ["1", "0"], demo.output
    children = [line.split() for line in demo.lines if line.strip().startswith("pid ")]
    assert len(children) == 2
    largest = demo.cell("deep/er/zeros.bin", 1, 2, 3, 4, 5)
    assert largest == ["3.0 MB", largest[1], "deep/er/zeros.bin", *largest[:2]]
    assert float(largest[1].rstrip("%")) < 0.2
    assert demo.cell("deep/er/random.bin", 1) == ["50.0 kB"]
    assert "The analysis waited for every count: a file has " in demo.output
    assert demo.left_overs() == ({}, [])


MOMENTS = ["demo  the first", "Starting Valkey", "Sending", "are sent", "Stop"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_at_any_moment_leaves_nothing(start: Start, moment: str) -> None:
    demo = start("--limit", "300")
    demo.wait_for(moment)
    demo.process.send_signal(signal.SIGINT)

    assert demo.finish() == 130, demo.output
    assert demo.lines[-1] == "demo: stopped; nothing is left running\n"
    assert "Traceback" not in demo.output
    assert demo.left_overs() == ({}, [])


@pytest.mark.parametrize(
    ("moment", "signum"),
    [("Starting Valkey", signal.SIGTERM), ("Sending", signal.SIGHUP), ("Stop", signal.SIGTERM)],
)
def test_other_signals_leave_nothing(start: Start, moment: str, signum: signal.Signals) -> None:
    demo = start("--limit", "300")
    demo.wait_for(moment)
    demo.process.send_signal(signum)

    assert demo.finish() == 128 + signum, demo.output
    assert demo.left_overs() == ({}, [])


@pytest.mark.parametrize("moment", ["Starting Valkey", "Sending", "Stop"])
def test_ctrl_c_twice_leaves_nothing(start: Start, moment: str) -> None:
    demo = start("--limit", "300")
    demo.wait_for(moment)
    for _time in range(2):
        demo.process.send_signal(signal.SIGINT)

    assert demo.finish() == 130, demo.output
    assert "Traceback" not in demo.output
    assert demo.left_overs() == ({}, [])


@pytest.mark.parametrize("moment", ["Starting Valkey", "Sending"])
def test_nothing_outlives_a_killed_demo(start: Start, moment: str) -> None:
    demo = start("--limit", "300")
    demo.wait_for(moment)
    demo.process.kill()

    assert demo.finish() == -signal.SIGKILL
    assert eventually(lambda: demo.left_overs() == ({}, [])), demo.left_overs()


def kill(demo: Demo, part: str) -> None:
    """Kill the process whose command line has the text."""
    (pid,) = (pid for pid, line in demo.members().items() if part in line)
    os.kill(pid, signal.SIGKILL)


def test_a_broker_that_dies_is_the_end(start: Start) -> None:
    demo = start("--limit", "300")
    demo.wait_for("Sending")
    kill(demo, "unixsocket")

    assert demo.finish() == 1, demo.output
    assert "the embedded broker has died" in demo.lines[-1], demo.output
    assert "Traceback" not in demo.output
    assert demo.left_overs() == ({}, [])


def test_a_worker_that_dies_takes_no_task_along(start: Start) -> None:
    demo = start("--limit", "50")
    demo.wait_for("are sent")
    kill(demo, "MainProcess]")

    assert demo.finish() == 0, demo.output
    assert "✓ 151 tasks in " in demo.output, demo.output
    assert demo.left_overs() == ({}, [])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "demo: cannot read the folder {}: No such file or directory\n"),
        ("file", "demo: cannot read the folder {}: Not a directory\n"),
        ("empty", "demo: no files in the folder {}\n"),
    ],
)
def test_a_folder_without_files_is_refused(
    start: Start, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    demo = start(tmp_path / name)

    assert demo.finish() == 2
    assert demo.output == message.format(tmp_path / name)
    assert demo.left_overs() == ({}, [])


def test_a_folder_for_temporary_files_may_be_deep(start: Start, folder: Path) -> None:
    deep = folder.parent / ("deep" * 30)
    deep.mkdir()
    demo = start(folder, TMPDIR=str(deep))

    assert demo.finish() == 0, demo.output
    assert list(deep.iterdir()) == []
    assert demo.left_overs() == ({}, [])


def test_the_limit_takes_the_first_files(start: Start, folder: Path) -> None:
    demo = start(folder, "--limit", "1")

    assert demo.finish() == 0, demo.output
    assert "demo  the first 1 file, 0 B, in " in demo.output
    assert "✓ 4 tasks in " in demo.output
    assert demo.left_overs() == ({}, [])
