"""Messages that no child runs go back to the queue after a lost connection to Redis."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery.worker import state as worker_state

from celery_workerpool.adapter.redelivery import Redelivery


class RedisChannel:
    """A kombu channel that has delivered some messages and settled others."""

    def __init__(self, delivered: set[str], dirty: set[str] | None = None) -> None:
        self.do_restore = True
        self.restored: list[str] = []
        self.qos = SimpleNamespace(
            _delivered=dict.fromkeys(delivered),
            _dirty=dirty or set(),
            restore_by_tag=self.restored.append,
        )


def connection(*channels: object) -> SimpleNamespace:
    return SimpleNamespace(transport=SimpleNamespace(channels=list(channels)))


@pytest.fixture
def _running(monkeypatch: pytest.MonkeyPatch) -> None:
    request = SimpleNamespace(message=SimpleNamespace(delivery_tag="running"))
    monkeypatch.setattr(worker_state, "active_requests", [request])


@pytest.mark.usefixtures("_running")
def test_only_what_waits_goes_back_and_with_the_next_connection() -> None:
    redelivery = Redelivery()
    broken = RedisChannel({"running", "waiting", "settled"}, {"settled"})
    other = RedisChannel({"elsewhere"})
    redelivery.connection_lost(connection(broken, other))
    assert (broken.do_restore, other.do_restore) == (False, False), "kombu must not try"
    assert broken.restored == []
    fresh = RedisChannel(set())
    redelivery.connected(fresh)
    assert sorted(fresh.restored) == ["elsewhere", "waiting"]
    later = RedisChannel(set())
    redelivery.connected(later)
    assert later.restored == [], "each goes back once"


def test_a_connection_that_is_lost_again_before_the_next_adds_to_what_goes_back() -> None:
    redelivery = Redelivery()
    redelivery.connection_lost(connection(RedisChannel({"first"})))
    redelivery.connection_lost(connection(RedisChannel({"second"})))
    fresh = RedisChannel(set())
    redelivery.connected(fresh)
    assert sorted(fresh.restored) == ["first", "second"]


@pytest.mark.parametrize(
    "channel",
    [SimpleNamespace(), SimpleNamespace(qos=None), SimpleNamespace(qos=SimpleNamespace())],
    ids=["no qos", "not yet", "another broker"],
)
def test_where_the_broker_delivers_again_nothing_is_done(channel: object) -> None:
    redelivery = Redelivery()
    redelivery.connection_lost(connection(channel))
    redelivery.connection_lost(SimpleNamespace(transport=SimpleNamespace(channels=None)))
    redelivery.connected(channel)
    assert not hasattr(channel, "do_restore")
