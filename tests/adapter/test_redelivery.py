"""What becomes of messages after a lost connection to Redis: back to the queue, or settled."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery.worker import state as worker_state

from celery_workerpool.adapter import redelivery as redelivery_module
from celery_workerpool.adapter.redelivery import Redelivery


class RedisChannel:
    """A kombu channel that has delivered some messages and settled others."""

    def __init__(self, *delivered: str, settled: str = "", breaks: bool = False) -> None:
        self.do_restore = True
        self.restored: list[str] = []
        self.acknowledged: list[str] = []
        self.qos = SimpleNamespace(
            _delivered=dict.fromkeys(delivered),
            _dirty={settled},
            restore_by_tag=None,  # By this a channel of Redis is known.
            restore=self._restore,
        )
        self._breaks = breaks

    def basic_ack(self, tag: str) -> None:
        self.acknowledged.append(tag)

    def _restore(self, tags: list[str]) -> int:
        if self._breaks:
            raise ConnectionError("lost again")
        self.restored += tags
        return len(tags)


@pytest.fixture(autouse=True)
def fake_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redelivery_module, "put_in_front", lambda qos, tags: qos.restore(tags))


def connection(*channels: object) -> SimpleNamespace:
    return SimpleNamespace(transport=SimpleNamespace(channels=list(channels)))


def running(
    monkeypatch: pytest.MonkeyPatch, *, acknowledged: bool = False, cancelled: bool = False
) -> SimpleNamespace:
    """The one request whose task a child is running."""
    request = SimpleNamespace(
        message=SimpleNamespace(delivery_tag="running", channel=None),
        acknowledged=acknowledged,
        _already_cancelled=cancelled,
    )
    monkeypatch.setattr(worker_state, "active_requests", [request])
    return request


def test_only_what_nobody_runs_goes_back_and_with_the_next_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running(monkeypatch)
    redelivery = Redelivery()
    broken = RedisChannel("running", "waiting", "settled", settled="settled")
    other = RedisChannel("elsewhere")
    redelivery.connection_lost(connection(broken, other))
    assert (broken.do_restore, other.do_restore) == (False, False), "kombu must not try"
    assert broken.restored == []
    fresh = RedisChannel()
    redelivery.connected(fresh)
    assert sorted(fresh.restored) == ["elsewhere", "waiting"]
    later = RedisChannel()
    redelivery.connected(later)
    assert later.restored == [], "each goes back once"


@pytest.mark.parametrize("acknowledged", [True, False], ids=["acknowledged", "not yet"])
def test_a_running_task_settles_its_message_on_the_new_connection(
    acknowledged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = running(monkeypatch, acknowledged=acknowledged)
    redelivery = Redelivery()
    redelivery.connection_lost(connection(RedisChannel("running")))
    fresh = RedisChannel()
    redelivery.connected(fresh)
    assert request.message.channel is fresh
    assert fresh.acknowledged == (["running"] if acknowledged else [])
    assert fresh.restored == []


def test_what_a_task_settles_without_connection_is_left_to_its_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may have been rejected, to run again; ``acknowledged`` says nothing of that."""
    request = running(monkeypatch)
    redelivery = Redelivery()
    redelivery.connection_lost(connection(RedisChannel("running")))
    request.acknowledged = True
    fresh = RedisChannel()
    redelivery.connected(fresh)
    assert request.message.channel is fresh, "where the queued rejection goes"
    assert (fresh.acknowledged, fresh.restored) == ([], [])


def test_a_running_task_that_celery_has_cancelled_goes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running(monkeypatch, cancelled=True)
    redelivery = Redelivery()
    redelivery.connection_lost(connection(RedisChannel("running")))
    fresh = RedisChannel()
    redelivery.connected(fresh)
    assert fresh.restored == ["running"]


def test_losses_before_the_next_connection_add_up() -> None:
    redelivery = Redelivery()
    redelivery.connection_lost(connection(RedisChannel("first")))
    redelivery.connection_lost(connection(RedisChannel("second")))
    fresh = RedisChannel()
    redelivery.connected(fresh)
    assert sorted(fresh.restored) == ["first", "second"]


def test_a_connection_that_breaks_meanwhile_loses_none() -> None:
    redelivery = Redelivery()
    redelivery.connection_lost(connection(RedisChannel("a", "b", "c")))
    short = RedisChannel(breaks=True)
    with pytest.raises(ConnectionError):
        redelivery.connected(short)
    fresh = RedisChannel()
    redelivery.connected(fresh)
    assert sorted(fresh.restored) == ["a", "b", "c"]


def test_what_was_on_its_way_goes_back_as_well_if_it_was(caplog: pytest.LogCaptureFixture) -> None:
    redelivery = Redelivery()
    redelivery.connection_lost(connection(RedisChannel("have")))
    redelivery.put_back(["x:0:10:00", "x:0:9:01", "x:0:9:00", "a:b"])
    fresh = RedisChannel()
    fresh.qos.restore = lambda tags: fresh.restored.extend(tags) or 2
    with caplog.at_level("INFO"):
        redelivery.connected(fresh)
    assert sorted(fresh.restored[:2]) == ["a:b", "have"]
    assert fresh.restored[2:] == ["x:0:9:00", "x:0:9:01", "x:0:10:00"]
    assert caplog.messages == ["2 messages that nobody runs went back to the queue"]


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
