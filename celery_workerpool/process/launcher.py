"""Fork or spawn: the two ways to get a child, behind one door."""

from __future__ import annotations

from functools import partial

from .child import Runtime, become_child
from .forkserver import ForkServer
from .inherited import open_descriptors
from .spawn import boot_frame, execute_python


class Launcher:
    """Starts fork servers whose children run ``runtime``.

    Arguments:
        runtime: must be picklable for ``spawn``.
        spawn: every child is a fresh interpreter instead of a fork.

    Descriptors open when this object is made are the user's, and children inherit them.
    """

    def __init__(self, runtime: Runtime, *, spawn: bool = False) -> None:
        self._runtime = runtime
        self._spawn = spawn
        self._keep = open_descriptors()

    def start_server(self) -> ForkServer:
        """A new server, holding this process as it is now."""
        if self._spawn:
            return ForkServer(execute_python, self._runtime.before_serving, self._keep)
        become = partial(become_child, runtime=self._runtime)
        return ForkServer(become, self._runtime.before_serving, self._keep)

    def greeting(self) -> bytes | None:
        """The frame that every new child is sent first, if any."""
        return boot_frame(self._runtime) if self._spawn else None
