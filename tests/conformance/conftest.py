"""Fixtures for running Celery's suite from a test."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator

import pytest
from rich.console import Console

from tests.support.leaks import TAG, tagged


@pytest.fixture
def console() -> Console:
    """Keeps what is printed; see :func:`said`."""
    return Console(file=io.StringIO(), width=200)


def said(console: Console) -> str:
    """What has been printed so far."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process that was started by the suite outlives the test."""
    tag = uuid.uuid4().hex
    monkeypatch.setenv(TAG, tag)
    monkeypatch.setenv("SPT_NOENV", "1")  # setproctitle must not overwrite the tag.
    yield
    assert tagged(tag) == {}
