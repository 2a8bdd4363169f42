"""What comes through the pipe that a child's stack is written to."""

from __future__ import annotations

import os
import threading
import time

import pytest

from celery_workerpool.process.stacks import StackPipe
from tests.support.waiting import PATIENCE


@pytest.mark.parametrize(
    "pieces",
    [
        (b"Current thread 0x7 (most recent call first):\n  File ", b'"x.py", line 1 in f\n'),
        (b"Current thread 0x7 (most recent call first):\n", b'  File "x.py", line 1 in f\n'),
        (b"Thread 0x6:\n  File y\n\n", b'Current thread 0x7:\n  File "x.py", line 1 in f\n'),
    ],
)
def test_a_stack_is_not_cut_within_a_thread(pieces: tuple[bytes, ...]) -> None:
    """The child may lose its CPU between two pieces of one."""
    pipe = StackPipe()

    def write() -> None:
        for piece in pieces:
            os.write(pipe.writer, piece)
            time.sleep(0.05)

    writer = threading.Thread(target=write)
    writer.start()
    stack = pipe.wait(PATIENCE)
    writer.join()
    pipe.close()
    assert stack.endswith('File "x.py", line 1 in f')


def test_what_a_crash_has_left_is_kept_apart() -> None:
    pipe = StackPipe()
    os.write(pipe.writer, b"asked\n")
    assert pipe.has_answer
    os.write(pipe.writer, b"Fatal Python error: ")
    assert pipe.crash() == "Fatal Python error:"
    os.write(pipe.writer, b"Aborted\n\nCurrent thread 0x7:\n")
    assert pipe.take() == "asked"
    assert not pipe.has_answer
    assert pipe.crash() == "Fatal Python error: Aborted\n\nCurrent thread 0x7:"
    assert (pipe.take(), pipe.wait(0.0)) == ("", "")
    pipe.close()
