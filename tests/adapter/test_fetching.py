"""Messages are taken from Redis and noted in one step, and the worker is told of new ones."""

from __future__ import annotations

import select
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery_workerpool.adapter import fetching
from celery_workerpool.adapter.fetching import BATCH, Fetching
from celery_workerpool.adapter.redis import Acknowledgements
from tests.support.taker import SOON, Taker, takers
from tests.support.waiting import wait_until
from tools.services import free_port, start_redis


@pytest.fixture
def make_taker(redis_url: str, leak_check: None) -> Iterator[Callable[..., Taker]]:
    with takers(redis_url) as make:
        yield make


@pytest.fixture
def taker(make_taker: Callable[..., Taker]) -> Taker:
    return make_taker()


def test_messages_are_noted_and_acknowledged(taker: Taker) -> None:
    taker.put("first", "second", "third")
    taker.start()
    assert taker.take(3) == ["first", "second", "third"]
    first, second, third = taker.messages
    assert taker.noted == {
        first.delivery_tag: "first", second.delivery_tag: "second", third.delivery_tag: "third"
    }  # fmt: skip
    first.ack()
    second.reject()
    taker.turn_until(lambda: taker.noted == {third.delivery_tag: "third"})
    third.requeue()
    again = taker.take(4)
    assert again[3] == "third"
    assert taker.messages[3].headers["redelivered"]
    assert taker.messages[3].delivery_tag != third.delivery_tag, "of each delivery its own"


def test_several_come_at_once_and_no_more_than_there_is_room_for(
    make_taker: Callable[..., Taker], monkeypatch: pytest.MonkeyPatch
) -> None:
    taker = make_taker(prefetch=5)
    fetches: list[int] = []
    command = Fetching._command
    monkeypatch.setattr(
        Fetching,
        "_command",
        lambda self, asked: (fetches.append(asked.room), command(self, asked))[1],
    )
    taker.put(*range(12))
    taker.start()
    assert taker.take(5) == [*range(5)]
    for _ in range(3):
        taker.turn()
    assert (fetches, len(taker.noted)) == ([5], 5)
    for message in taker.messages[:2]:
        message.ack()
    assert taker.take(7) == [*range(7)]
    assert fetches == [5, 2]


def test_without_a_limit_a_fetch_has_one_in_messages_and_in_bytes(
    taker: Taker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    deliver = Fetching._deliver

    def count(self: Fetching, found: Iterator[Any]) -> None:
        sizes.append(len(all_found := list(found)))
        deliver(self, iter(all_found))

    monkeypatch.setattr(Fetching, "_deliver", count)
    taker.put(*range(BATCH + 1))
    taker.start()
    taker.take(BATCH + 1)
    assert sizes == [BATCH, 1]
    monkeypatch.setattr(fetching, "BYTES", 1000)
    taker.put("a" * 2000, "b")
    taker.take(BATCH + 3)
    assert sizes[2:] == [1, 1]


def test_prefetch_that_celery_disables_is_asked_after_each(taker: Taker) -> None:
    taker.channel.qos.can_consume = lambda: len(taker.messages) < 2
    taker.put(*range(4))
    taker.start()
    taker.take(2)
    for _ in range(3):
        taker.turn()
    assert len(taker.noted) == 2


NAMES = ["a", "b", "c"]


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sent=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([0, 3, 6, 9])), max_size=12),
    strategy=st.sampled_from(["round_robin", "priority", "sorted"]),
    prefetch=st.sampled_from([0, 1, 3]),
)
def test_they_come_in_the_order_in_which_kombu_takes_them(
    redis_url: str, sent: list[tuple[str, int]], strategy: str, prefetch: int
) -> None:
    def order(safely: bool) -> list[int]:
        prefix = uuid.uuid4().hex
        names = [f"{prefix}{name}" for name in NAMES]
        options = {"queue_order_strategy": strategy}
        taker = Taker(redis_url, names, prefetch=prefetch, **options)
        for number, (name, priority) in enumerate(sent):
            taker.put(number, queue=f"{prefix}{name}", priority=priority)
        if safely:
            taker.start()
        else:
            taker.connection.register_with_event_loop(taker.hub)
            taker.consumer.consume()
            taker._loop = taker.hub.create_loop()
        for count in range(1, len(sent) + 1):
            taker.take(count)
            taker.messages[count - 1].ack()
        taker.close()
        with redis.Redis.from_url(redis_url) as client:
            for key in client.scan_iter(f"*{prefix}*"):
                client.delete(key)
        return [message.payload for message in taker.messages]

    assert order(True) == order(False)


def test_what_is_fetched_and_not_read_is_noted(make_taker: Callable[..., Taker]) -> None:
    """So is what was on its way when the worker was killed."""
    taker = make_taker(prefetch=2)
    fetch = taker.start_and_wait()
    taker.put("first", "second", "third")
    fetch._awake = True
    fetch._start()
    wait_until(lambda: len(taker.noted) == 2, "two are noted")
    assert taker.messages == []
    tags = fetch.abandon()
    assert set(taker.noted) <= set(tags)
    for tag in tags:
        taker.channel.qos.restore_by_tag(tag)
    other = make_taker(taker.consumer.queues[0].name)
    other.start()
    assert sorted(other.take(3)) == ["first", "second", "third"]


def test_a_message_wakes_who_waits(taker: Taker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "LOOK_EVERY", 3600.0)
    taker.start()
    for number in range(3):
        taker.wait_until_empty()
        taker.put(number, priority=3 * number)
        assert taker.take(number + 1) == [*range(number + 1)]


def test_one_that_comes_while_the_answer_is_on_its_way_is_not_slept_through(
    taker: Taker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "LOOK_EVERY", 3600.0)
    fetch = taker.start_and_wait()
    fetch._awake, fetch._late = True, 0
    fetch._start()
    assert select.select([fetch._sock], [], [], SOON)[0], "the answer: there is nothing"
    taker.put("late")
    wait_until(lambda: fetch._hear() or fetch._awake, "it is heard of before that is read")
    assert taker.take(1) == ["late"]


def test_a_server_that_tells_nothing_is_asked_now_and_then(
    taker: Taker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(Fetching, "_hear", lambda self: fetching._drained(self._ear._sock))
    taker.start()
    taker.wait_until_empty()
    taker.put("unheard")
    assert taker.take(1) == ["unheard"]


def test_a_connection_for_being_told_is_made_again(
    taker: Taker, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "LOOK_EVERY", 3600.0)
    fetch = taker.start_and_wait()
    with redis.Redis.from_url(redis_url) as client:
        client.client_kill_filter(_id=fetch._ear_id)
    taker.turn_until(lambda: fetch._sock is None)
    taker.wait_until_empty()
    taker.put("heard")
    assert taker.take(1) == ["heard"]


def test_a_server_that_has_forgotten_the_script_gets_it_again(taker: Taker, redis_url: str) -> None:
    taker.start()
    taker.wait_until_empty()
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()
    taker.put("work")
    assert taker.take(1) == ["work"]


@pytest.mark.parametrize("refused", ["client|tracking", "script|load", "rpop"])
def test_a_server_that_does_not_allow_it_is_asked_as_kombu_does(
    make_taker: Callable[..., Taker],
    redis_url: str,
    refused: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    user = uuid.uuid4().hex
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command(
            "ACL", "SETUSER", user, "on", ">secret", "~*", "&*", "+@all", f"-{refused}"
        )
        try:
            taker = make_taker(url=redis_url.replace("redis://", f"redis://{user}:secret@"))
            make_taker(taker.consumer.queues[0].name).put("work")
            taker.start()
            assert taker.take(1) == ["work"]
            taker.messages[0].ack()
            taker.turn_until(lambda: not taker.noted)
        finally:
            taker.close()
            client.acl_deluser(user)
    assert "Redis does not allow what safe fetching needs" in caplog.text


BAD_BODY = '{"properties": {"body_encoding": "base64"}, "body": "e"}'


def test_what_is_no_message_is_dropped_and_nothing_else(
    taker: Taker, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = taker.consumer.queues[0].name
    taker.put("before")
    with redis.Redis.from_url(redis_url) as client:
        client.lpush(name, b"\xff{", "{}", "[1]", BAD_BODY)
    taker.put("after")
    taker.start()
    assert taker.take(2) == ["before", "after"]
    assert set(taker.noted.values()) == {"before", "after"}
    assert caplog.text.count(f"dropped from {name!r}: no message") == 4


def test_an_error_of_who_takes_them_leaves_the_others_in_front(taker: Taker) -> None:
    def fail(message: Any) -> None:
        raise ZeroDivisionError

    taker.put(*range(4))
    taker.consumer.on_message = fail
    taker.start()
    with pytest.raises(ZeroDivisionError):
        taker.take(1)
    assert list(taker.noted.values()) == [0], "the one that it was about"
    taker.consumer.on_message = taker.messages.append
    taker._loop = taker.hub.create_loop()
    assert taker.take(3) == [1, 2, 3]


def test_messages_of_a_queue_that_is_cancelled_by_now_are_put_back(
    make_taker: Callable[..., Taker],
) -> None:
    taker = make_taker(prefetch=3)
    fetch = taker.start_and_wait()
    taker.put(*range(4))
    fetch._awake = True
    fetch._start()
    taker.consumer.cancel()
    taker.turn_until(lambda: fetch._asked is None)
    assert taker.messages == [] and taker.noted == {}
    other = make_taker(taker.consumer.queues[0].name)
    other.start()
    assert other.take(4) == [*range(4)]


def test_keys_have_the_prefix_of_all(make_taker: Callable[..., Taker]) -> None:
    taker = make_taker(global_keyprefix="ours:")
    taker.put("work")
    taker.start()
    assert taker.take(1) == ["work"]
    assert taker.noted == {taker.messages[0].delivery_tag: "work"}
    taker.wait_until_empty()
    taker.put("more")
    taker.take(2)


def test_acknowledgements_go_with_a_fetch(taker: Taker, monkeypatch: pytest.MonkeyPatch) -> None:
    flush = Acknowledgements._flush
    flushed: list[bool] = []
    monkeypatch.setattr(
        Acknowledgements, "_flush", lambda self: (flushed.append(True), flush(self))[1]
    )
    taker.put("first")
    taker.start()
    taker.take(1)
    taker.wait_until_empty()
    flushed.clear()
    taker.put("second")
    taker.messages[0].ack()
    assert taker.fetching is not None
    taker.fetching._awake = True
    taker.take(2)
    assert set(taker.noted.values()) == {"second"}
    assert not flushed


def test_a_full_server_goes_on_giving(make_taker: Callable[..., Taker]) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with start_redis(port), redis.Redis.from_url(url) as client:
        taker = make_taker(url=url)
        taker.start()
        taker.wait_until_empty()
        taker.put(*range(3))
        client.config_set("maxmemory", 1)
        assert taker.take(3) == [0, 1, 2]
        assert set(taker.noted.values()) == {0, 1, 2}
        for message in taker.messages:
            message.ack()
        taker.turn_until(lambda: not taker.noted)
        taker.close()


def test_who_came_late_and_is_busy_lets_others_go_first(
    taker: Taker, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    fetch = taker.start_and_wait()
    monkeypatch.setattr(taker.hub, "call_later", lambda seconds, call: waits.append(seconds))
    monkeypatch.setattr("random.uniform", lambda low, high: high)

    fetch._late = 0
    fetch._hear()
    assert fetch._awake and not waits, "idle, and first"

    fetch._late = 3
    fetch._hear()
    fetch._hear()
    assert waits == [3 * fetching.LATE], "once"

    fetch._waking = False
    taker.load = 1.0
    fetch._hear()
    assert waits[1:] == [3 * fetching.LATE + fetching.COURTESY]
    monkeypatch.undo()


def test_lateness_grows_and_is_forgotten(taker: Taker) -> None:
    fetch = taker.start_and_wait()
    for _ in range(fetching.LATE_TIMES + 2):
        fetch._wake()
        taker.wait_until_empty()
    assert fetch._late == fetching.LATE_TIMES
    taker.put("mine")
    taker.take(1)
    assert fetch._late == fetching.LATE_TIMES // 2


def test_a_queue_that_is_no_list_takes_nothing_along(
    make_taker: Callable[..., Taker], redis_url: str
) -> None:
    name = uuid.uuid4().hex
    taker = make_taker(name, f"{name}.odd")
    taker.put(*range(3))
    taker.start()
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{name}.odd", "no list")
        assert taker.take(3) == [*range(3)]
        assert set(taker.noted.values()) == {0, 1, 2}
        client.delete(f"{name}.odd")


def test_where_nothing_can_be_noted_nothing_is_taken(
    make_taker: Callable[..., Taker], redis_url: str
) -> None:
    taker = make_taker()
    name = taker.consumer.queues[0].name
    with redis.Redis.from_url(redis_url) as client:
        client.set(taker.channel.unacked_key, "no hash")
        taker.put("work")
        taker.start()
        with pytest.raises(redis.ResponseError):  # kombu's way, which is the next to be tried
            taker.take(1)
        assert client.llen(name) == 0 and not taker.messages
        client.delete(taker.channel.unacked_key)


def test_a_fetch_that_is_not_answered_is_put_back(taker: Taker, caplog: Any) -> None:
    """As when kombu finds that the answer is overdue, and drops the connection."""
    fetch = taker.start_and_wait()
    taker.put(*range(3))
    fetch._awake = True
    fetch._start()
    wait_until(lambda: len(taker.noted) == 3, "they are noted")
    assert set(taker.noted) <= set(fetch.held()), "so they are renewed"
    taker.channel.client.connection.disconnect()
    assert taker.take(3) == [*range(3)]
    assert len(taker.noted) == 3
    assert set(fetch.held()) == set(taker.noted)


def test_a_connection_that_ends_while_nothing_is_asked_is_made_again(
    taker: Taker, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "LOOK_EVERY", 3600.0)
    fetch = taker.start_and_wait()
    reads: list[bool] = []
    read = fetch._read
    taker.channel.handlers["BRPOP"] = lambda: (reads.append(True), read())[1]
    with redis.Redis.from_url(redis_url) as client:
        address = "{}:{}".format(*taker.channel.client.connection._sock.getsockname())
        client.client_kill_filter(addr=address)
    taker.turn_until(lambda: fetch._sock is not taker.channel.client.connection._sock)
    taker.wait_until_empty()
    taker.put("work")
    assert taker.take(1) == ["work"]
    assert len(reads) < 10, "it does not spin"


def test_connections_for_being_told_do_not_add_up(
    taker: Taker, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kombu allows ten of all kinds."""
    taker.start()
    fetch = taker.fetching
    assert fetch is not None
    with redis.Redis.from_url(redis_url) as client:
        for _ in range(12):
            taker.wait_until_empty()
            client.client_kill_filter(_id=fetch._ear_id)
            taker.turn_until(lambda: fetch._sock is None)


def test_a_quiet_connection_is_written_to(taker: Taker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PING_EVERY", 0.01)
    monkeypatch.setattr(fetching, "LOOK_EVERY", 0.01)
    heard: list[bool] = []
    drained = fetching._drained
    monkeypatch.setattr(fetching, "_drained", lambda sock: heard.append(drained(sock)) or heard[-1])
    taker.start()
    taker.turn_until(lambda: len(heard) > 3)
    assert all(heard)
    taker.put("work")
    assert taker.take(1) == ["work"]


def test_what_nobody_acknowledges_is_not_noted_for_long(taker: Taker) -> None:
    taker.consumer.no_ack = True
    taker.put("work")
    taker.start()
    assert taker.take(1) == ["work"]
    taker.turn_until(lambda: not taker.noted)
