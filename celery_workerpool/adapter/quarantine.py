"""Tasks that kill their children: counted, and kept apart when there were too many crashes.

Where crashes are counted:
- in the worker, for as long as it lives, lost connections included;
- across workers and their restarts in the result backend, if it can count (Redis, Memcached);
- else by the delivery count of RabbitMQ's quorum queues.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..errors import PoisonTaskError, described
from ..events import PoolEvent, TaskQuarantined
from ..policy.poison import CrashCount
from ..types import Loss, LossCause

logger = logging.getLogger(__name__)

#: Messages kept to be sent again; of more, the oldest are dropped. Also their bytes together.
KEPT, KEPT_BYTES = 1000, 64 * 2**20
#: Seconds that the count in the result backend is kept after a crash.
REMEMBERED = 24 * 3600
#: Ends of a child that are not its task's doing.
INNOCENT = frozenset(
    {
        LossCause.TERMINATED,
        LossCause.TIME_LIMIT,
        LossCause.SHUTDOWN,
        LossCause.DEADLINE,
        LossCause.UNWANTED,
    }
)
#: Set by RabbitMQ's quorum queues: how often this message has come back.
DELIVERY_COUNT = "x-delivery-count"


@dataclass(frozen=True, slots=True)
class Kept:
    """A task in quarantine."""

    message: Any  # kombu's
    name: str
    crashes: int
    error: str
    when: float  # seconds since the epoch

    @property
    def size(self) -> int:
        return len(self.message.body or b"")


class Quarantine:
    """Says which lost tasks are poison, and keeps their messages.

    Arguments:
        limit: crashes at which a task is not run again; None: never.
        observe: gets an event for each task that is kept.
    """

    def __init__(self, app: Any, limit: int | None, observe: Callable[[PoolEvent], None]) -> None:
        self._app = app
        self._count = CrashCount(limit)
        self._observe = observe
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def question(self, request: Any, loss: Loss) -> Callable[[], int | None] | None:
        """What is to be asked, in whichever thread, before :meth:`judge`; None: nothing.

        It asks the result backend, and may take as long as that does.
        """
        if not self._counts(loss) or not hasattr(self._app.backend, "incr"):
            return None
        return partial(self._add_stored, str(request.id))

    def judge(self, request: Any, loss: Loss, stored: int | None) -> PoisonTaskError | None:
        """A child is gone with the task of this request: the error it fails with, if poison.

        Arguments:
            stored: the answer to :meth:`question`; None where there is none.
        """
        if not self._counts(loss):
            return None
        task_id = str(request.id)
        redeliveries = _redeliveries(request.message)
        verdict = self._count.crashed(task_id, stored=stored, redeliveries=redeliveries)
        if not verdict.poisoned:
            return None
        logger.error("Task %s[%s] %s and goes to quarantine", request.name, task_id, verdict.reason)
        self._keep(request, verdict.crashes, str(loss))
        text = (
            f"{request.name}[{task_id}] {verdict.reason} and is not run again "
            f"(workerpool_max_crashes_per_task = {self._count.limit}). At last: {loss}"
        )
        return PoisonTaskError(f"{text}\n{loss.evidence}" if loss.evidence else text)

    def listing(self) -> list[dict[str, object]]:
        """Plain data, the oldest first."""
        return [
            {
                "id": task_id,
                "name": kept.name,
                "crashes": kept.crashes,
                "error": kept.error,
                "when": kept.when,
                "args": str(kept.message.headers.get("argsrepr") or ""),
                "kwargs": str(kept.message.headers.get("kwargsrepr") or ""),
            }
            for task_id, kept in list(self._kept.items())
        ]

    def release(self, task_ids: Iterable[str]) -> list[str]:
        """Send the messages of these tasks again, as they came; the ids of those that were here.

        Raises:
            Exception: the broker does not take it; the task stays here.
        """
        released = []
        for task_id in task_ids:
            kept = self._kept.get(task_id)
            if kept is None:
                continue
            self._count.forget(task_id)
            self._forget_stored(task_id)
            self._publish(kept.message)
            del self._kept[task_id]
            released.append(task_id)
            logger.warning("Task %s[%s] was released from quarantine", kept.name, task_id)
        return released

    # ── helpers ──────────────────────────────────────────────────────────────────────────

    def _keep(self, request: Any, crashes: int, error: str) -> None:
        task_id = str(request.id)
        kept = Kept(request.message, request.name, crashes, error, time.time())
        self._kept[task_id] = kept
        self._kept.move_to_end(task_id)
        while len(self._kept) > 1 and (
            len(self._kept) > KEPT or sum(k.size for k in self._kept.values()) > KEPT_BYTES
        ):
            dropped, _ = self._kept.popitem(last=False)
            logger.warning("Task %s is dropped from quarantine: it is full", dropped)
        self._observe(TaskQuarantined(task_id, request.name, crashes, error))

    def _publish(self, message: Any) -> None:
        headers = {k: v for k, v in message.headers.items() if k != DELIVERY_COUNT}
        wanted = ("priority", "correlation_id", "reply_to", "delivery_mode", "expiration")
        properties = {
            name: message.properties[name]
            for name in wanted
            if message.properties.get(name) is not None
        }
        with self._app.producer_or_acquire() as producer:
            producer.publish(
                message.body,
                exchange=message.delivery_info.get("exchange") or "",
                routing_key=message.delivery_info.get("routing_key"),
                headers=headers,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                retry=False,
                **properties,
            )

    def _counts(self, loss: Loss) -> bool:
        """Whether it is a crash that counts."""
        counted = self._count.limit is not None
        return counted and loss.cause not in INNOCENT and not _server_lost(loss)

    def _add_stored(self, task_id: str) -> int | None:
        backend = self._app.backend
        try:
            key = backend.get_key_for_task(task_id, ".crashes")
            count = int(backend.incr(key))
            backend.expire(key, REMEMBERED)
        except NotImplementedError:  # What Celery's base class does.
            return None
        except Exception as exc:  # Backends break in many ways; the worker's own count stands.
            logger.warning(
                "cannot count the crash of task %s in the backend: %s", task_id, described(exc)
            )
            return None
        return count

    def _forget_stored(self, task_id: str) -> None:
        backend = self._app.backend
        if hasattr(backend, "incr"):
            backend.delete(backend.get_key_for_task(task_id, ".crashes"))


def _server_lost(loss: Loss) -> bool:
    """All children died with their fork server: no task of theirs is to blame."""
    return loss.cause is LossCause.EXITED and loss.exitcode is None


def _redeliveries(message: Any) -> int:
    count = (message.headers or {}).get(DELIVERY_COUNT)
    return count if isinstance(count, int) else 0
