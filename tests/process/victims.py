"""What tasks can do to their child. Each is called in a child, none in the test's process."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from billiard.exceptions import SoftTimeLimitExceeded

# ── deaths ───────────────────────────────────────────────────────────────────────────────


def segfault() -> None:
    ctypes.string_at(0)


def kill_self(signum: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), signum)
    threading.Event().wait()


def abort() -> None:
    os.abort()


def overflow_the_stack() -> None:
    resource.setrlimit(resource.RLIMIT_STACK, (256 * 1024, 256 * 1024))
    sys.setrecursionlimit(10**9)

    def deeper(x: int) -> list[object]:
        return list(map(deeper, [x]))

    deeper(0)


def close_descriptors() -> str:
    os.closerange(3, 4096)
    return "nobody will hear of it"


def close_and_reopen_descriptors(path: str) -> str:
    """Another file stands where the child's socket was."""
    os.closerange(3, 4096)
    for _ in range(64):
        os.open(path, os.O_RDWR | os.O_CREAT)
    return "nobody will hear of it"


# ── exceptions and results ───────────────────────────────────────────────────────────────


class Unusual(BaseException):
    pass


class Needy(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__()
        self.text = first + second

    def __str__(self) -> str:
        return self.text


class Evil(Exception):
    """Whoever unpickles it creates a file."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path(self.path).touch, ()


class Secretive(Exception):
    @property
    def args(self) -> NoReturn:
        raise RuntimeError("no arguments for you")

    def __str__(self) -> NoReturn:
        raise RuntimeError("no text for you")

    __repr__ = __str__


class BadArgument:
    """Pickles, but does not unpickle."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return raise_value_error, ("argument", 1)


def raise_value_error(*args: object) -> None:
    raise ValueError(*args)


def raise_unusual() -> None:
    raise Unusual("very")


def raise_keyboard_interrupt() -> None:
    raise KeyboardInterrupt


def raise_unpicklable() -> None:
    raise ValueError(_unpicklable, 7)


def raise_needy() -> None:
    raise Needy("a", "b")


def raise_evil(path: str) -> None:
    raise Evil(path)


def raise_secretive() -> None:
    raise Secretive


def raise_memory_error() -> None:
    bytearray(1 << 60)


def recurse() -> None:
    recurse()


def _unpicklable() -> Callable[[], None]:
    return lambda: None


def return_unpicklable() -> object:
    return lambda: None


def return_object() -> object:
    return Path("/")


def return_evil(path: str) -> object:
    return Evil(path)


def nothing(*_: object) -> None:
    pass


# ── descendants ──────────────────────────────────────────────────────────────────────────


def fork_and_return() -> int:
    """Both processes return, and come to the code that answers the pool."""
    os.fork()
    return os.getpid()


def fork_often(times: int) -> int:
    """Children of the task's own that exit normally."""
    good = 0
    for _ in range(times):
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        good += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    return good


def fork_and_crash() -> int:
    """How a child of the task's own ended."""
    pid = os.fork()
    if pid == 0:
        segfault()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork_and_terminate() -> int:
    """How a child of the task's own ends that is terminated while it holds on."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(done, b"x")
            threading.Event().wait()
        finally:
            os._exit(1)
    os.read(ready, 1)
    os.kill(pid, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork_and_terminate_at_once(times: int) -> list[int]:
    """How children of the task's own end that are terminated before they have done anything."""
    ends = []
    for _ in range(times):
        pid = os.fork()
        if pid == 0:
            threading.Event().wait()
        os.kill(pid, signal.SIGTERM)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return ends


def fork_and_raise() -> None:
    os.fork()
    raise ValueError("twice")


def fork_and_exit() -> None:
    os.fork()
    sys.exit(3)


def leave_grandchild(path: str) -> int:
    """A grandchild stays, with every descriptor of the child; its pid is in the file."""
    pid = os.fork()
    if pid == 0:
        threading.Event().wait()
    Path(path).write_text(str(pid))
    return pid


def leave_grandchild_and_die(path: str) -> None:
    leave_grandchild(path)
    segfault()


def leave_grandchild_and_go_on(path: str) -> None:
    leave_grandchild(path)
    threading.Event().wait()


def leave_program(path: str) -> int:
    """The same with another program."""
    process = subprocess.Popen(["sleep", "1000"])
    Path(path).write_text(str(process.pid))
    process.returncode = 0  # Popen would complain that it goes on.
    return process.pid


def use_multiprocessing(method: str) -> list[int]:
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(abs, [-1, -2, -3])


# ── what stays in a child ────────────────────────────────────────────────────────────────


def flood_output(size: int) -> int:
    for fd in (1, 2):
        line = b"x" * 1023 + b"\n"
        for _ in range(size // len(line)):
            os.write(fd, line)
    return size


def change_surroundings(folder: str) -> str:
    os.chdir(folder)
    os.umask(0o777)
    os.environ.clear()
    sys.path.clear()
    return os.getcwd()


def block_signals() -> str:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
    return "blocked"


def block_signals_and_hold(release: str, blocked: str | None = None) -> str:
    block_signals()
    if blocked:
        Path(blocked).touch()
    while not Path(release).exists():
        time.sleep(0.005)
    return "deaf"


def unblock_signals_and_work() -> str:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGUSR1])
    return "".join(str(n % 10) for n in range(1000))[:3]


def leave_threads() -> int:
    for daemon in (True, False):
        threading.Thread(target=threading.Event().wait, daemon=daemon).start()
    return sum(thread.is_alive() for thread in threading.enumerate()) - 1


def hoard(release: str, size: int) -> int:
    """Hold so many bytes, and go on until the file exists."""
    memory = bytearray(size)
    memory[::4096] = b"x" * len(range(0, size, 4096))
    while not Path(release).exists():
        time.sleep(0.005)
    return len(memory)


def surroundings() -> tuple[str, int, bool]:
    mask = os.umask(0o22)
    os.umask(mask)
    return os.getcwd(), mask, "PATH" in os.environ


def echo(value: Any) -> Any:
    return value


def pid() -> int:
    return os.getpid()


# ── time ─────────────────────────────────────────────────────────────────────────────────


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def catch_soft_limit(release: str) -> str:
    try:
        while not Path(release).exists():
            time.sleep(0.005)
    except SoftTimeLimitExceeded:
        return "caught"
    return "released"


def huge_power() -> None:
    pow(3, 10**9)


def long_sum() -> None:
    sum(range(10**12))


def begin(mark: str, name: str) -> None:
    """Leave a file, then do one of the things that are here."""
    Path(mark).touch()
    globals()[name]()


def catastrophic_match() -> None:
    re.match(r"(a+)+$", "a" * 60 + "b")


def sleep_with_the_gil() -> None:
    libc = ctypes.PyDLL(None)
    libc.signal(signal.SIGUSR1, 1)  # SIG_IGN: a signal would cut the sleep short.
    libc.sleep(1000)


def deadlock_with_the_gil() -> None:
    """No signal cuts this short."""
    mutex = ctypes.create_string_buffer(64)
    lock = ctypes.PyDLL(None).pthread_mutex_lock
    lock(mutex)
    lock(mutex)  # Waits for itself.


def deaf() -> None:
    block_signals()
    threading.Event().wait()


def leave_grandchild_of_its_own_session(path: str) -> None:
    """A grandchild that no signal to the child's group reaches; its pid is in the file."""
    program = f"import os; os.setsid(); open({path!r}, 'w').write(str(os.getpid())); import time"
    subprocess.Popen([sys.executable, "-c", program + "; time.sleep(1000)"])
    threading.Event().wait()
