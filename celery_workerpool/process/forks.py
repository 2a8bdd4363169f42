"""Processes that a task forks: the signals that are meant for the child are none of theirs."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterable
from functools import partial

#: Bytes; a set of signals is smaller on every system.
_SET_SIZE = 128
#: Loaded here, so that a child need not do it.
_LIBC = ctypes.PyDLL(None)


def keep_from_forks(signums: Iterable[int], release: Callable[[], None]) -> None:
    """Have every fork of this process call ``release`` before one of these signals reaches it.

    Between the fork and the handler's removal a signal would run Python's handler in the wrong
    process, or be forgotten: Python drops in a fork what it has noted and not handled. So they
    are held back meanwhile, and then do what the fork's own dispositions say.

    The hooks on this side run no Python code: an exception that a signal raises there (a soft
    time limit) would be lost, for hooks cannot raise. It comes when the fork is done.
    """
    wanted, before = (ctypes.create_string_buffer(_SET_SIZE) for _ in range(2))
    _LIBC.sigemptyset(wanted)
    for signum in signums:
        _LIBC.sigaddset(wanted, int(signum))
    hold = partial(_LIBC.pthread_sigmask, int(signal.SIG_BLOCK), wanted, before)
    let_go = partial(_LIBC.pthread_sigmask, int(signal.SIG_SETMASK), before, None)

    def in_child() -> None:
        try:
            release()
        finally:
            let_go()

    os.register_at_fork(before=hold, after_in_parent=let_go, after_in_child=in_child)
