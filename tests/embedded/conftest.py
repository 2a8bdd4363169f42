"""Fixtures for tests of embedded mode."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .place import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Where scripts run; nothing is left of them in the end."""
    pytest.importorskip("redis")
    from celery_workerpool.embedded import server

    if not sys.platform.startswith("linux"):
        pytest.skip("looks into /proc")
    if server.find() is None:
        pytest.skip("no Valkey or Redis to start")
    with Place(tmp_path) as place:
        yield place
