"""A place for embedded hosts of a test's own, and the scripts that use them."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.leaks import TAG, tagged
from tests.support.waiting import wait_until
from tools.processes import is_running

ROOT = Path(__file__).parents[2]
#: Seconds; bounds a failure, measures nothing.
PATIENCE = 60.0


class Place:
    """A working directory and a folder for temporary files; a context manager.

    At its end every process that was started here, or by such a process, is gone, and so is
    everything that they had in the folder for temporary files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temp = Path(
            tempfile.mkdtemp(prefix="w p", dir="/tmp")
        )  # The blank is there on purpose.
        self.tag = uuid.uuid4().hex
        self.environ = {
            **os.environ,
            TAG: self.tag,
            "TMPDIR": str(self.temp),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "SPT_NOENV": "1",  # setproctitle must not overwrite the environment: it has our tag.
        }
        self.environ.pop("XDG_RUNTIME_DIR", None)
        self._scripts: list[Script] = []

    def start(self, code: str, *args: str, **environ: str) -> Script:
        """Start a script; stop it with ``kill``, or let it end."""
        number = len(self._scripts)
        file = self.folder / f"script{number}.py"
        file.write_text(textwrap.dedent(code))
        return self.start_command(str(file), *args, **environ)

    def start_command(self, *args: str, **environ: str) -> Script:
        """Start Python with these arguments."""
        script = Script(self, args, environ)
        self._scripts.append(script)
        return script

    def run(self, code: str, *args: str, **environ: str) -> str:
        """Run a script to its end; what it has printed."""
        script = self.start(code, *args, **environ)
        assert script.wait() == 0, script.report()
        return script.output

    @property
    def processes(self) -> dict[int, str]:
        """Everything that lives and was started from here: pid and command line."""
        # The broker's title takes the place of its environment.
        return tagged(self.tag) | processes_with(str(self.temp))

    def pid_of(self, text: str) -> int:
        """The process whose command line has the text; there is one, but while it is forked."""

        def found() -> list[int]:
            pids = [pid for pid, command in self.processes.items() if text in command]
            return pids if len(pids) == 1 else []

        return wait_until(found, f"one process with {text!r}")[0]

    @property
    def left(self) -> list[str]:
        """What is in the folder for temporary files."""
        return sorted(str(path.relative_to(self.temp)) for path in self.temp.rglob("*"))

    def wait_until_gone(self) -> None:
        wait_until(
            lambda: not self.processes, f"nothing is left of {self.processes}", timeout=PATIENCE
        )
        wait_until(lambda: not self.left, f"nothing is left of {self.left}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            for script in self._scripts:
                script.close()
            self.wait_until_gone()
        except AssertionError:
            for script in self._scripts:
                print(script.report())
            for log in self.temp.rglob("*.log"):
                print(f"--- {log.name} ---\n{log.read_text(errors='replace')}")
            raise
        finally:
            for pid in self.processes:
                os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.temp, ignore_errors=True)


class Script:
    """A running script."""

    def __init__(self, place: Place, args: tuple[str, ...], environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "always::ResourceWarning", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**place.environ, **environ},
            cwd=place.folder,
            text=True,
            start_new_session=True,  # A signal for its group hits nobody else.
        )
        self.lines: list[str] = []
        self._news: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def line(self) -> str:
        """The next line that it prints."""
        line = self._news.get(timeout=PATIENCE)
        assert line is not None, self.report()
        return line

    def say(self, line: str = "go") -> None:
        """Write a line to its input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def wait(self) -> int:
        """The exit code; it has not left a share open."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        unclosed = [line for line in self.lines if "ResourceWarning" in line]
        assert not any("owners.sock" in line for line in unclosed), self.report()
        return code

    def kill(self, signum: int = signal.SIGKILL) -> None:
        os.kill(self.process.pid, signum)

    @property
    def output(self) -> str:
        return "".join(line + "\n" for line in self.lines)

    def report(self) -> str:
        return f"--- {self.process.args} ({self.process.returncode}) ---\n{self.output}"

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(PATIENCE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._news.put(line.rstrip("\n"))
        self._news.put(None)


def processes_with(text: str) -> dict[int, str]:
    """Every living process whose command line has the text."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if text in command and is_running(int(entry.name)):
                found[int(entry.name)] = command
    return found
