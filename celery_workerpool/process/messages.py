"""What the pool and a child say to each other, and how it looks on the socket.

A frame is ``tag (1 byte) | job (8 bytes) | length (8 bytes) | payload``. Towards the child the
payload is a pickle (the child trusts the pool). From the child it is a pickle that may hold
plain data only: :func:`decode_reply` refuses anything that would import or call something,
because a task's objects must not run code in the pool's process.

    pool                              child
      | -- Boot(payload) ------------> |    spawned children only: what to become
      | <------------- Ready(pid) ---- |
      | -- Run(job, target, args) ---> |
      | <--- Progress(job, percent) -- |    as often as the task likes, within reason
      | <---- Attention(job, wanted) - |    whether the task wants to know when the pool stops
      | <------------ Beat(rss, cpu) - |    once a second, whatever it does
      | <------ Done(job, value) ----- |    or Failed(job, failure)
      | -- Stop() -------------------> |    or end of file: the pool is gone
"""

from __future__ import annotations

import dataclasses
import io
import pickle
import struct
import sys
from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from types import FunctionType
from typing import Any, NamedTuple, NoReturn

from ..errors import ResultNotPlain
from ..types import RemoteFailure

HEADER = struct.Struct("!BQQ")

BOOT, RUN, STOP, READY, DONE, FAILED, PROGRESS, ATTENTION, BEAT = range(1, 10)


class Boot(NamedTuple):
    """What a fresh interpreter needs to become a child; already pickled."""

    payload: bytes


class Run(NamedTuple):
    """Call ``target(*args)``."""

    job: int
    target: Callable[..., object]
    args: tuple[object, ...]


class Stop(NamedTuple):
    """Finish and exit."""


class Ready(NamedTuple):
    """The child can take its first task."""

    pid: int
    rss: int  # bytes, at that moment
    cpu: float = 0.0  # seconds of CPU time so far


class Done(NamedTuple):
    """The call returned."""

    job: int
    value: Any  # plain data
    rss: int | None = None  # bytes after the task, where a memory limit asks for it
    leaving: bool = False  # the child exits now and takes no other task


class Failed(NamedTuple):
    """The call raised."""

    job: int
    failure: RemoteFailure
    rss: int | None = None
    leaving: bool = False


class Progress(NamedTuple):
    """The task says how far it is."""

    job: int
    percent: float  # 0 to 100
    message: str


class Attention(NamedTuple):
    """The task wants to be signalled when the pool is about to stop, or does no more."""

    job: int
    wanted: bool


class Beat(NamedTuple):
    """The child lives."""

    rss: int  # bytes
    cpu: float  # seconds of CPU time so far


Request = Boot | Run | Stop
Reply = Ready | Done | Failed | Progress | Attention | Beat


def encode(message: Request | Reply) -> bytes:
    """One whole frame.

    Raises:
        Exception: whatever pickling the arguments raises.
    """
    match message:  # The kinds that every task needs come first.
        case Run(job, target, args):
            call = (_name(target) if type(target) is FunctionType else target, args)
            return _frame(RUN, job, pickle.dumps(call, pickle.HIGHEST_PROTOCOL))
        case Done(job, value, rss, leaving):
            plain = (value, rss, leaving)
            return _frame(DONE, job, pickle.dumps(plain, pickle.HIGHEST_PROTOCOL))
        case Failed(job, failure, rss, leaving):
            raised = (*dataclasses.astuple(failure), rss, leaving)
            return _frame(FAILED, job, pickle.dumps(raised, pickle.HIGHEST_PROTOCOL))
        case Ready(pid, rss, cpu):
            return _frame(READY, 0, pickle.dumps((pid, rss, cpu), pickle.HIGHEST_PROTOCOL))
        case Progress(job, percent, text):
            said = (percent, text)
            return _frame(PROGRESS, job, pickle.dumps(said, pickle.HIGHEST_PROTOCOL))
        case Attention(job, wanted):
            return _frame(ATTENTION, job, pickle.dumps((wanted,), pickle.HIGHEST_PROTOCOL))
        case Beat(rss, cpu):
            return _frame(BEAT, 0, pickle.dumps((rss, cpu), pickle.HIGHEST_PROTOCOL))
        case Boot(payload):
            return _frame(BOOT, 0, payload)
        case Stop():
            return _frame(STOP, 0, b"")


def decode_request(tag: int, job: int, payload: bytes) -> Request:
    """In the child.

    Raises:
        Exception: whatever unpickling the arguments raises.
    """
    if tag == RUN:
        target, args = pickle.loads(payload)
        return Run(job, _named(target) if type(target) is tuple else target, args)
    return Boot(payload) if tag == BOOT else Stop()


def decode_reply(tag: int, job: int, payload: bytes) -> Reply:
    """In the pool. A reply that is no plain data becomes the failure of its task."""
    try:
        fields = _PlainUnpickler(io.BytesIO(payload)).load()
        if tag == DONE:
            return Done(job, *fields)
        if tag == FAILED:
            *failure, rss, leaving = fields
            return Failed(job, RemoteFailure(*failure), rss, leaving)
        if tag == ATTENTION:
            return Attention(job, *fields)
        if tag == BEAT:
            return Beat(*fields)
        return Progress(job, *fields) if tag == PROGRESS else Ready(*fields)
    except Exception as exc:  # A broken reply may raise anything; it must not hurt the pool.
        return Failed(job, _not_plain(exc))


class _PlainUnpickler(pickle.Unpickler):
    """Numbers, strings, bytes and the built-in containers; nothing that needs an import."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise ResultNotPlain(f"{module}.{name}")


@lru_cache(maxsize=64)
def _name(target: FunctionType) -> tuple[str, str] | FunctionType:
    """Module and name of a function that is found by them.

    It is what pickle would write and look up, each time anew, which takes longer than the rest
    of a small task's message.
    """
    name = (target.__module__, target.__qualname__)
    try:
        # Not from the cache below, which children would inherit: modules can be reloaded.
        return name if _named.__wrapped__(name) is target else target
    except (ImportError, AttributeError, TypeError):
        return target  # And pickle says what is wrong with it.


@lru_cache(maxsize=64)
def _named(name: tuple[str, str]) -> Callable[..., object]:
    module, path = name
    __import__(module)
    function: Callable[..., object] = attrgetter(path)(sys.modules[module])
    return function


def _frame(tag: int, job: int, payload: bytes) -> bytes:
    return HEADER.pack(tag, job, len(payload)) + payload


def _not_plain(exc: Exception) -> RemoteFailure:
    text = f"The result is not plain data (numbers, strings, bytes, lists, dicts): {exc}"
    return RemoteFailure(
        module=ResultNotPlain.__module__,
        name=ResultNotPlain.__name__,
        args=(text,),
        repr=f"ResultNotPlain({text!r})",
        traceback=text,
    )
