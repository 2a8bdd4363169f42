"""Fixtures for every test. Servers come from the environment, or are started once a session."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.services import (
    POSTGRESQL,
    RABBITMQ,
    REDIS,
    Service,
    ServiceUnavailable,
    required,
    service,
)

from .support.leaks import no_leaks
from .support.worker import CeleryWorker

StartWorker = Callable[..., CeleryWorker]

# Under nohup, and in some build environments, a hang-up is ignored, and children inherit that.
# Tests that send one mean it.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _url(kind: Service) -> Iterator[str]:
    try:
        with service(kind) as url:
            yield url
    except ServiceUnavailable as exc:
        if required():
            raise
        pytest.skip(str(exc))


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis."""
    yield from _url(REDIS)


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    """A real RabbitMQ."""
    yield from _url(RABBITMQ)


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A real PostgreSQL, as SQLAlchemy names it."""
    yield from _url(POSTGRESQL)


@pytest.fixture(params=["redis", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """The test runs once on each broker."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def make_worker(broker_url: str, redis_url: str, tmp_path: Path) -> Callable[..., CeleryWorker]:
    """Makes workers on the broker of this test; use each as a context manager.

    ``make_worker(conf={...}, options=["-E"], concurrency=2)``: see
    :class:`tests.support.worker.CeleryWorker`.
    """
    return functools.partial(CeleryWorker, broker_url, redis_url, tmp_path)


@pytest.fixture
def leak_check() -> Iterator[None]:
    """The test leaves no child, thread or descriptor in this process."""
    with no_leaks():
        yield


def pytest_collection_modifyitems(items: list[Any]) -> None:
    for item in items:
        if "make_worker" in item.fixturenames:
            item.add_marker(pytest.mark.acceptance)
