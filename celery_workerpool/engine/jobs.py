"""A task as the engine sees it, and what it is told about it."""

from __future__ import annotations

import enum
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..policy.scheduler import Ticket
from ..types import Limits, Loss, RemoteFailure, UnhealthyPolicy

if TYPE_CHECKING:
    from .worker import Worker


logger = logging.getLogger(__name__)


class JobState(enum.Enum):
    """Where a job is on its way."""

    WAITING = "waiting"  # in the heap
    RUNNING = "running"  # handed to a child
    ENDED = "ended"  # exactly one of the outcomes below was reported, or the job was dropped


class Job(ABC):
    """One task on its way through the pool.

    The engine calls the methods below in its own thread, one at a time. After
    :meth:`started` exactly one of :meth:`succeeded`, :meth:`failed`, :meth:`lost` and
    :meth:`hard_limit_reached` follows. An exception they raise is logged and hurts nothing.
    """

    #: Urgency, see :class:`~celery_workerpool.types.TaskPriority`; fractions are fine.
    level: float = 2.0

    def __init__(self) -> None:
        # The engine's own notes.
        self.state = JobState.WAITING
        self.number = 0
        self.enqueued_at = 0.0
        self.ticket: Ticket | None = None
        self.worker: Worker | None = None
        self.signalled: int | None = None  # the last signal that was to end it
        #: How far it is, from 0 to 100, and what it does; None while it has not said.
        self.progress: tuple[float, str] | None = None
        #: The task wants to know when the pool is about to stop.
        self.wants_notice = False
        #: Set by the job itself when it learns that it has failed.
        self.has_failed = False

    @abstractmethod
    def call(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """What the child is to call, and with what."""

    @abstractmethod
    def admitted(self) -> bool:
        """Asked when its turn has come: False if it must not start any more."""

    @abstractmethod
    def limits(self) -> Limits:
        """Its time limits, asked at hand-over."""

    def unhealthy_policy(self) -> UnhealthyPolicy | None:
        """What is to happen if its child gives no sign of life; None: what the pool's is."""
        return None

    @abstractmethod
    def started(self, pid: int, now: float) -> None:
        """Handed to child ``pid`` at monotonic time ``now``."""

    def progressed(self, percent: float, message: str) -> None:  # noqa: B027  # optional
        """The task says how far it is, from 0 to 100; nothing need be done about it."""

    @abstractmethod
    def succeeded(self, value: Any) -> None:
        """The call returned plain data."""

    @abstractmethod
    def failed(self, failure: RemoteFailure) -> None:
        """The call raised."""

    @abstractmethod
    def refused(self, exc: Exception) -> None:
        """It could not be sent to a child; it was never started."""

    @abstractmethod
    def lost(self, loss: Loss) -> None:
        """Its child is gone."""

    @abstractmethod
    def soft_limit_reached(self, limit: float) -> None:
        """The child was sent the signal; the job goes on."""

    @abstractmethod
    def hard_limit_reached(self, limit: float) -> None:
        """The child was killed."""


def tell(method: Callable[..., None], *args: Any) -> None:
    """Call one of a job's methods; what it raises is logged.

    A broken backend or signal handler must not cost the pool a child.
    """
    try:
        method(*args)
    except Exception:
        logger.exception("%s raised", getattr(method, "__qualname__", method))
