"""What a dead worker had comes back, and what a live one has does not."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator

import pytest
import redis

from celery_workerpool.adapter import lease
from celery_workerpool.adapter.lease import Lease
from tests.support.taker import Taker, takers
from tests.support.waiting import wait_until
from tools.services import start_redis

AFTER = 2.0


@pytest.fixture
def make_taker(redis_url: str, leak_check: None) -> Iterator[Callable[..., Taker]]:
    with takers(redis_url) as make:
        yield make


@pytest.fixture
def own_redis() -> Iterator[str]:
    """Nobody else is on it."""
    with start_redis() as url:
        yield url


def leased(taker: Taker, node: str, after: float = AFTER) -> Lease:
    """A lease for what this one takes, without the thread."""
    made = Lease(taker.tag, node, after, lambda: [m.delivery_tag for m in taker.messages])
    made._connection = taker.connection
    made.give_sign()
    return made


def scores(taker: Taker) -> dict[str, float]:
    with taker.channel.conn_or_acquire() as client:
        key = taker.channel.unacked_index_key
        return {tag.decode(): at for tag, at in client.zrange(key, 0, -1, withscores=True)}


@pytest.mark.parametrize("prefix", ["", "ours:"])
def test_what_a_dead_worker_had_goes_to_the_front(
    make_taker: Callable[..., Taker], caplog: pytest.LogCaptureFixture, prefix: str
) -> None:
    name = uuid.uuid4().hex
    dying, other = (make_taker(name, prefetch=250, global_keyprefix=prefix) for _ in range(2))
    dying.put(*range(251))
    dying.start()
    dying.take(250)
    leased(dying, "dying@host")
    living = leased(other, "living@host")
    with caplog.at_level(logging.WARNING):
        living.give_sign()
        assert len(dying.noted) == 250, "it has just given a sign"
        wait_until(lambda: living.give_sign() or not dying.noted, "it is seen to be dead")
    assert caplog.messages == ["worker dying@host is gone: 250 messages go back to the queue"]
    other.start()
    other.take(1)
    assert [*other.take(250)] == [*range(250)], "in order, those that nobody had taken behind them"
    assert all(message.headers["redelivered"] for message in other.messages)


def test_what_is_acknowledged_while_it_is_put_back_stays_acknowledged(
    make_taker: Callable[..., Taker],
) -> None:
    taker = make_taker()
    taker.put("done", "open")
    taker.start()
    taker.take(2)
    done, still_open = taker.messages
    tags = [done.delivery_tag, still_open.delivery_tag]
    done.ack()
    taker.turn_until(lambda: done.delivery_tag not in taker.noted)
    lease.put_in_front(taker.channel.qos, tags)
    lease.put_in_front(taker.channel.qos, tags)
    assert taker.take(3)[2:] == ["open"], "once"
    for _ in range(3):
        taker.turn()
    assert len(taker.messages) == 3


def test_what_a_live_worker_has_is_renewed(make_taker: Callable[..., Taker]) -> None:
    taker = make_taker()
    taker.put("held", "done")
    taker.start()
    taker.take(2)
    held, done = taker.messages
    mine = leased(taker, "living@host")
    before = scores(taker)
    done.ack()
    taker.turn_until(lambda: done.delivery_tag not in scores(taker))
    mine.give_sign()
    after = scores(taker)
    assert after.keys() == {held.delivery_tag}, "what is acknowledged does not come back"
    assert after[held.delivery_tag] > before[held.delivery_tag]


def test_the_dead_are_forgotten_and_the_living_stay(
    make_taker: Callable[..., Taker], redis_url: str
) -> None:
    name = uuid.uuid4().hex
    first, second = make_taker(name), make_taker(name)
    leased(first, "first@host")
    living = leased(second, "second@host")
    with redis.Redis.from_url(redis_url) as client:
        key = f"{second.channel.unacked_key}_workers"
        assert len(client.zrange(key, 0, -1)) == 2
        assert not living.alone
        wait_until(
            lambda: living.give_sign() or client.zcard(key) == 1, "the first is seen to be dead"
        )
        assert client.zrange(key, 0, -1) == [f"{second.tag} second@host".encode()]
    assert living.alone


def test_signs_come_from_a_thread_and_survive_a_lost_connection(
    make_taker: Callable[..., Taker], own_redis: str
) -> None:
    threads = threading.active_count()
    taker = make_taker(url=own_redis)
    mine = Lease(taker.tag, "living@host", 0.1, list)
    mine.begin(taker.connection)
    with redis.Redis.from_url(own_redis) as client:
        key = f"{taker.channel.unacked_key}_workers"
        assert client.zcard(key) == 1, "at once"
        for _ in range(3):
            client.client_kill_filter(_type="normal", skipme=True)
            client.zremrangebyrank(key, 0, -1)
            wait_until(lambda: client.zcard(key) == 1, "another sign")
    mine.close()
    wait_until(lambda: threading.active_count() == threads, "the thread has ended")
    mine._connection.close()


def test_where_it_is_not_allowed_the_worker_does_without(
    make_taker: Callable[..., Taker], own_redis: str, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(own_redis) as client:
        client.execute_command("ACL", "SETUSER", "u", "on", ">p", "~none", "&*", "+@all")
        taker = make_taker(url=own_redis.replace("redis://", "redis://u:p@"))
        threads = threading.active_count()
        mine = Lease(taker.tag, "living@host", AFTER, list)
        mine.begin(taker.connection)
        mine._connection.close()
    assert threading.active_count() == threads
    assert "Redis does not allow signs of life" in caplog.text


def test_what_is_no_message_does_not_hold_the_others_up(
    make_taker: Callable[..., Taker], caplog: pytest.LogCaptureFixture
) -> None:
    taker = make_taker()
    taker.put("before", "after")
    taker.start()
    taker.take(2)
    before, after = (message.delivery_tag for message in taker.messages)
    bad = f"{taker.tag}0:0:50"
    with taker.channel.conn_or_acquire() as client:
        client.hset(taker.channel.unacked_key, bad, b'[\xff{,"","q"]')
        client.zadd(taker.channel.unacked_index_key, {bad: 1})
    assert lease.put_in_front(taker.channel.qos, [before, bad, after]) == 2
    assert taker.take(4)[2:] == ["before", "after"]
    assert bad not in scores(taker)
    assert "dropped: no message" in caplog.text


def test_after_an_outage_nobody_is_judged(make_taker: Callable[..., Taker]) -> None:
    name = uuid.uuid4().hex
    first, second = make_taker(name), make_taker(name)
    first.put("work")
    first.start()
    first.take(1)
    leased(first, "first@host")
    other = leased(second, "second@host")
    key = f"{second.channel.unacked_key}_workers"
    with second.channel.conn_or_acquire() as client:
        long_ago = dict.fromkeys(client.zrange(key, 0, -1), 1)
        client.zadd(key, long_ago)  # No sign of anybody's for long
    other.give_sign()
    assert not other.alone and first.noted
    wait_until(lambda: other.give_sign() or not first.noted, "it gives none after that either")


def test_a_server_that_has_just_started_judges_nobody(
    make_taker: Callable[..., Taker], own_redis: str
) -> None:
    name = uuid.uuid4().hex
    first, second = (make_taker(name, url=own_redis) for _ in range(2))
    with redis.Redis.from_url(own_redis) as client:
        client.zadd(f"{second.channel.unacked_key}_workers", {f"{first.tag} first@host": 1})
    assert not leased(second, "second@host", after=3600).alone


def test_signs_are_given_on_a_full_server(make_taker: Callable[..., Taker], own_redis: str) -> None:
    taker = make_taker(url=own_redis)
    taker.put("work")
    taker.start()
    taker.take(1)
    mine = leased(taker, "living@host")
    before = scores(taker)
    with redis.Redis.from_url(own_redis) as client:
        client.config_set("maxmemory", 1)
        mine.give_sign()
        client.config_set("maxmemory", 0)
    (tag,) = before
    assert scores(taker)[tag] > before[tag]
