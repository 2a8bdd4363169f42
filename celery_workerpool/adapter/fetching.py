"""Fetches messages from Redis so that none is lost when the worker is killed.

kombu takes a message off its queue by ``BRPOP``, and notes it as unacknowledged when it has read
it. A process that is killed in between takes the message along: that happens in about every
other kill of a worker at work. Here a script does both in one step, for as many messages as there
is room for.

A script cannot wait. So the worker has the server tell it when a queue that it has found empty
changes (``CLIENT TRACKING``, Redis 6), on a connection of its own. All idle workers are told of a
message then, and one gets it. Who keeps coming late answers later, and who has more to do as well:
so the idlest worker gets it, and many idle workers do not wear the server out.

Each fetch has tags of its own. kombu's tag is the sender's: where a message is delivered twice, one
acknowledgement would be taken for both.
"""

from __future__ import annotations

import logging
import random
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from queue import Empty
from time import monotonic, time
from typing import Any

from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads
from redis.exceptions import NoScriptError, ResponseError

from .redis import Acknowledgements, in_order, put_in_front, source

logger = logging.getLogger(__name__)

#: Messages in one fetch at most; after so many bytes there are no more either.
BATCH, BYTES = 32, 1 << 18
#: Seconds after which an empty queue is looked at again, told or not.
LOOK_EVERY = 1.0
#: Seconds after which the server is written to on the connection on which it tells.
PING_EVERY = 30.0
#: Seconds up to which a worker waits when it is told of a message, for each time that another
#: was first, and the times that count.
LATE, LATE_TIMES = 0.001, 5
#: Seconds for which one whose children are all busy lets the others go first.
COURTESY = 0.006

#: Of the connections of this process.
_numbers = count()


class Fetching:
    """Takes the place of ``_brpop_start`` and ``_brpop_read`` of the worker's channel.

    For the thread of the event loop, as the channel.

    Arguments:
        tag: the beginning of the tags of what it fetches.
        load: tells how busy the worker is, from 0 to 1, which means that no child is idle; always
            0 where there is no other worker.
    """

    def __init__(
        self,
        hub: Any,
        channel: Any,
        acknowledgements: Acknowledgements,
        tag: str,
        load: Callable[[], float],
    ) -> None:
        self._hub, self._channel, self._load = hub, channel, load
        self._acknowledgements = acknowledgements
        self._note = channel.qos.append
        self._tag = f"{tag}{next(_numbers)}:"
        self._fetches = count()
        self._asked: _Asked | None = None  # and not answered
        self._open: set[str] = set()  # tags of what was asked for, and has not been delivered
        self._works = False  # It was answered once.
        self._sock: Any = None  # the one whose server knows the script, and tracks
        self._ear: Any = None  # the connection on which it tells
        self._awake, self._told, self._waking = True, False, False
        self._look_at = self._ping_at = 0.0
        self._late = 0  # how often another worker was first, of late

    def begin(self) -> None:
        """From the next turn of the loop on."""
        channel = self._channel
        channel._brpop_start, channel._brpop_read = self._start, self._read
        channel.handlers["BRPOP"] = self._read
        channel.qos.append = self._append

    def stop_listening(self) -> None:
        """The loop, or the connection, is about to end."""
        if self._ear is not None:
            if self._ear._sock is not None:
                self._hub.remove_reader(self._ear._sock)
            self._ear.disconnect()
            self._ear = None

    def held(self) -> list[str]:
        """Tags of what may have come and is not acknowledged. For any thread."""
        return [*tuple(self._open), *tuple(self._channel.qos._delivered)]

    def abandon(self) -> list[str]:
        """Read nothing more: the tags that messages on their way may have."""
        self._asked = self._channel._in_poll = None
        found, self._open = self._open, set()
        return list(found)

    # ── asking ───────────────────────────────────────────────────────────────────────────

    def _start(self, timeout: float | None = None) -> None:
        """Called in every turn of the loop in which there is room and nothing is asked."""
        now = monotonic()
        if not self._awake and now < self._look_at:
            return
        channel = self._channel
        queues = channel._queue_cycle.consume(len(channel.active_queues))
        if not queues:
            return
        connection = channel.client.connection
        if connection._sock is not self._sock and not self._prepare(connection):
            channel._brpop_start()
            return
        # A connection that nobody uses may be cut without a word.
        if self._ear is not None and now >= self._ping_at:
            self._ping_at = now + PING_EVERY
            self._ear.send_packed_command(self._ear.pack_command("PING"), check_health=False)
        if self._open:  # The connection broke before the answer was there.
            put_in_front(channel.qos, in_order(self.abandon()))
        asked = self._asked = _Asked(
            queues, self._room(), f"{self._tag}{next(self._fetches)}:", self._acknowledgements.go()
        )
        self._open.update(map(asked.tag_of, range(asked.room)))
        channel._in_poll, channel._brpop_sent_at = connection, now
        connection.send_command(*self._command(asked))
        # Not later: it may be heard of a message before the answer is read.
        self._awake, self._look_at = False, now + LOOK_EVERY

    def _room(self) -> int:
        qos = self._channel.qos
        if "can_consume" in vars(qos):  # Celery's worker_disable_prefetch: ask again after each.
            return 1
        room = qos.can_consume_max_estimate()
        return BATCH if room is None else min(room, BATCH)

    def _command(self, asked: _Asked) -> list[Any]:
        channel = self._channel
        prefix, qos = channel.global_keyprefix, channel.qos
        keys = [
            prefix + channel._q_for_pri(queue, priority)
            for priority in channel.priority_steps
            for queue in asked.queues
        ]
        turns = channel.queue_order_strategy == "round_robin"
        return [
            *("EVALSHA", self._sha, len(keys), *keys),
            *(prefix + qos.unacked_key, prefix + qos.unacked_index_key),
            *(time(), asked.room, BYTES, asked.tag, int(turns)),
            *(len(asked.queues), *map(_as_json, asked.queues), *asked.acknowledged),
        ]

    def _prepare(self, connection: Any) -> bool:
        """Whether the server can do what is needed; if not, kombu goes on as ever."""
        self.stop_listening()  # The server may have forgotten it, too.
        try:
            self._listen()
            self._sha = _ask(connection, "SCRIPT", "LOAD", source("fetch"))
            _ask(connection, "CLIENT", "TRACKING", "ON", "REDIRECT", self._ear_id)
        except ResponseError as exc:
            self._give_up(exc)
            return False
        self._sock, self._ping_at = connection._sock, monotonic() + PING_EVERY
        return True

    def _give_up(self, why: ResponseError) -> None:
        logger.warning(
            "Redis does not allow what safe fetching needs (%s): a worker that is killed while it"
            " takes a message loses it",
            why,
        )
        channel = self._channel
        self.stop_listening()
        del channel._brpop_start, channel._brpop_read
        channel.handlers["BRPOP"] = channel._brpop_read

    # ── reading ──────────────────────────────────────────────────────────────────────────

    def _read(self, **_options: Any) -> bool:
        channel, asked = self._channel, self._asked
        if asked is None or not channel._in_poll:
            # Nothing is to come but an end, or that nobody listens any more: begin anew.
            channel.client.connection.disconnect()
            self._awake = True
            raise Empty
        try:
            emptied, *found = channel.client.parse_response(channel.client.connection, "EVALSHA")
        except channel.connection_errors:
            channel.client.connection.disconnect()  # The next turn of the loop connects.
            raise
        except NoScriptError:
            self._sock, self._awake = None, True
            raise Empty from None
        except ResponseError as exc:
            if self._works:
                raise
            self._give_up(exc)
            raise Empty from None
        finally:
            channel._in_poll = None
            channel._flush_brpop_reauth()
        self._asked, self._works = None, True
        self._acknowledgements.gone(asked.acknowledged)
        # The others do not exist.
        self._open.intersection_update(map(asked.tag_of, range(len(found) // 2)))
        self._awake |= not emptied
        if found:
            self._late //= 2
        elif self._told:
            self._late = min(self._late + 1, LATE_TIMES)
        self._told = False
        self._deliver(
            (asked.tag_of(number), asked.queues[queue - 1], text)
            for number, (queue, text) in enumerate(zip(found[::2], found[1::2], strict=True))
        )
        if not found:
            raise Empty
        return True

    def _deliver(self, found: Iterator[tuple[str, str, bytes]]) -> None:
        channel = self._channel
        back: list[str] = []
        try:
            for tag, queue, text in found:
                channel._queue_cycle.rotate(queue)
                if queue not in channel.connection._callbacks:  # It is cancelled by now.
                    back.append(tag)
                    continue
                try:
                    payload = loads(bytes_to_str(text))  # type: ignore[no-untyped-call]
                    payload["properties"]["delivery_tag"] = tag
                    channel.connection._deliver(payload, queue)
                except Exception as exc:
                    if tag in channel.qos._delivered:
                        raise
                    logger.error("dropped from %r: no message (%r): %.500r", queue, exc, text)
                finally:
                    self._open.discard(tag)
                    if tag not in channel.qos._delivered:  # dropped, or of a consumer without them
                        self._acknowledgements.drop(tag)
        finally:
            back.extend(tag for tag, _, _ in found)  # after one that ended the worker
            if back:
                put_in_front(channel.qos, back)
                self._open.difference_update(back)

    def _append(self, message: Any, tag: str) -> None:
        if not tag.startswith(self._tag):
            self._note(message, tag)
            return
        qos = self._channel.qos
        if qos._dirty:
            qos._flush()
        qos._quick_append(tag, message)

    # ── being told ───────────────────────────────────────────────────────────────────────

    def _listen(self) -> None:
        pool = self._channel.pool
        # Not one of the pool's, which counts them all, also those that are gone.
        ear = self._ear = pool.connection_class(**pool.connection_kwargs)
        ear.connect()
        self._ear_id = _ask(ear, "CLIENT", "ID")
        ear.send_command("SUBSCRIBE", "__redis__:invalidate")
        if str(getattr(ear, "protocol", 2)) == "3":
            ear.read_response(push_request=True)
        else:
            ear.read_response()
        ear._sock.setblocking(False)
        self._hub.add_reader(ear._sock, self._hear)

    def _hear(self) -> None:
        """A queue has changed; which one, is of no interest."""
        if not _drained(self._ear._sock):  # Closed; the next fetch makes a new one.
            self.stop_listening()
            self._sock = None
        if self._waking:
            return
        others_first = random.uniform(0, self._late * LATE) + self._load() * COURTESY
        if others_first:
            self._waking = True
            self._hub.call_later(others_first, self._wake)
        else:
            self._wake()

    def _wake(self) -> None:
        self._waking, self._awake, self._told = False, True, True


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the server is asked for."""

    queues: Sequence[str]
    room: int
    tag: str
    acknowledged: Sequence[str]

    def tag_of(self, number: int) -> str:
        """Tag of one of its messages; in the order of their numbers."""
        return f"{self.tag}{number:02}"


def _drained(sock: Any) -> bool:
    """Read what there is; False for a connection that is closed."""
    try:
        while sock.recv(1 << 16):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        pass
    return False


def _ask(connection: Any, *command: Any) -> Any:
    connection.send_command(*command)
    return connection.read_response()


@cache
def _as_json(text: str) -> str:
    return str(dumps(text))  # type: ignore[no-untyped-call]
