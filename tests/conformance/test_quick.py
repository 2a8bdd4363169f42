"""Celery's own tests of tasks and of inspection: this pool passes what prefork passes."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from tools.conformance.__main__ import conformance
from tools.conformance.sessions import Bench
from tools.conformance.source import SourceUnavailable, source
from tools.conformance.suite import modules
from tools.services import required

from .conftest import said


@pytest.fixture(scope="session")
def celery_source() -> Path:
    try:
        return source()
    except SourceUnavailable as exc:
        if required():
            raise
        pytest.skip(str(exc))


@pytest.mark.timeout(600)
def test_no_test_of_tasks_and_inspect_passes_on_prefork_alone(
    celery_source: Path, redis_url: str, tmp_path: Path, console: Console, nothing_left: None
) -> None:
    bench = Bench(celery_source, tmp_path / "logs")
    code = conformance(bench, modules(quick=True), "workerpool", 4, console)
    assert code == 0, said(console)
