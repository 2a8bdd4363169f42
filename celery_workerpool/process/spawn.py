"""Children as fresh interpreters (``worker_pool_start_method = "spawn"``).

The fork server starts them too: it forks and executes Python, so that watching and ending
them is the same. What a child is to become arrives as the first frame on its channel.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
from multiprocessing import spawn
from pathlib import Path
from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]
from typing import Any

from .child import Runtime, become_child
from .messages import Boot, decode_request, encode
from .stacks import tell_stacks

_PROGRAM = (
    "import sys; sys.path.insert(0, {root!r}); "
    "from celery_workerpool.process.spawn import main; main({fd}, {stacks}, {index})"
)


def boot_frame(runtime: Runtime) -> bytes:
    """What every spawned child gets to know first.

    Raises:
        Exception: whatever pickling the runtime raises.
    """
    preparation: dict[str, Any] = spawn.get_preparation_data("celery")
    preparation["authkey"] = bytes(preparation["authkey"])
    payload = {"preparation": preparation, "runtime": pickle.dumps(runtime)}
    return encode(Boot(pickle.dumps(payload)))


def execute_python(sock: socket.socket, stacks: int, index: int) -> int:
    """Replace this process by a fresh interpreter that becomes a child."""
    os.set_inheritable(sock.fileno(), True)
    os.set_inheritable(stacks, True)
    os.environ["FORKED_BY_MULTIPROCESSING"] = "1"  # Celery asks for it in fresh interpreters.
    root = str(Path(__file__).parents[2])
    program = _PROGRAM.format(root=root, fd=sock.fileno(), stacks=stacks, index=index)
    arguments = [sys.executable, *_args_from_interpreter_flags(), "-c", program]
    os.execv(sys.executable, arguments)


def main(fd: int, stacks: int, index: int) -> None:
    """In the fresh interpreter."""
    stacks = tell_stacks(stacks)
    os.set_inheritable(fd, False)
    sock = socket.socket(fileno=fd)
    payload = pickle.loads(_receive_boot(sock).payload)
    spawn.prepare(payload["preparation"])  # type: ignore[no-untyped-call, unused-ignore]
    runtime: Runtime = pickle.loads(payload["runtime"])
    os._exit(become_child(sock, stacks, index, runtime, "spawn"))


def _receive_boot(sock: socket.socket) -> Boot:
    from .channel import ChildChannel

    boot = decode_request(*ChildChannel(sock).receive())
    if not isinstance(boot, Boot):
        raise SystemExit(f"expected a Boot frame, got {boot!r}")
    return boot
