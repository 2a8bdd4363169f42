"""One Celery task on its way through the pool: the handle that ``apply_async`` returns."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any

from celery.app.trace import fast_trace_task, trace_task_ret
from celery.worker import state as worker_state
from celery.worker.request import Request

from ..engine.jobs import Job
from ..errors import InvalidTaskError
from ..events import TaskProgress
from ..gate.records import EndKind
from ..metrics import Ledger, Outcome
from ..policy.graph import HEADER
from ..types import Limits, Loss, LossCause, RemoteFailure, UnhealthyPolicy
from .outcome import error_info, exception_info, loss_info

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..gate.gate import Gate
    from .quarantine import Quarantine
    from .shutdown import HardShutdown

logger = logging.getLogger(__name__)

_TRACERS = (fast_trace_task, trace_task_ret)
_OUTCOMES = {"retry": Outcome.RETRIED, "reject": Outcome.REJECTED, "ignore": Outcome.REJECTED}


class TaskHandle(Job):
    """Translates between the engine and the callbacks of a Celery request.

    Arguments:
        target, args: what the child calls.
        callbacks: ``accept_callback``, ``callback``, ``error_callback``, ``timeout_callback``,
            each may be missing.
        soft, hard: time limits given with the call, not yet checked.
        default_limits: the pool's.
        ledger: where its figures go.
        shutdown: hears of it when a shutdown ends the task.
        quarantine: says when the task has crashed too often.
        gate: hears of the task's end, for those that wait for it.
    """

    def __init__(
        self,
        engine: Engine,
        target: Callable[..., object],
        args: tuple[Any, ...],
        callbacks: dict[str, Callable[..., object] | None],
        soft: object,
        hard: object,
        default_limits: Limits,
        ledger: Ledger,
        shutdown: HardShutdown,
        quarantine: Quarantine,
        gate: Gate,
    ) -> None:
        super().__init__()
        self._quarantine = quarantine
        self._gate = gate
        self._shutdown = shutdown
        self._ledger = ledger
        self._started_at = 0.0
        self._engine = engine
        self._target = target
        self._args = args
        self._callbacks = callbacks
        self._soft = soft
        self._hard = hard
        self._default_limits = default_limits
        owner = getattr(callbacks.get("accept_callback"), "__self__", None)
        self._request: Any = owner if isinstance(owner, Request) else None
        self._signum: int | None = None

    def __str__(self) -> str:
        if self._target in _TRACERS:
            return f"{self._shown_name}[{self._args[1]}]"
        return getattr(self._target, "__qualname__", repr(self._target))

    @property
    def headers(self) -> dict[str, Any] | None:
        """The task message's headers; None for a bare function."""
        return self._args[2] if self._target in _TRACERS else None

    @property
    def request(self) -> Any:
        """Celery's request; None for a bare function."""
        return self._request

    def terminate(self, signum: int) -> None:
        """End this task and no other; nothing happens if it has ended.

        Celery calls this right after the pool's ``terminate_job``. A second signal would cut the
        task's clean-up off.
        """
        self._signum = signum
        if self.signalled != signum:
            self._engine.terminate(self, signum)

    # ── what the engine asks ─────────────────────────────────────────────────────────────

    def call(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        if self._target not in _TRACERS or not self._args[4]:
            return self._target, self._args
        # The body is on its way in its encoded form, and the child decodes it. The decoded
        # arguments that Celery keeps beside it would travel as a second copy.
        name, task_id, request, *rest = self._args
        request = request.copy()
        request.pop("args", None)
        request.pop("kwargs", None)
        return self._target, (name, task_id, request, *rest)

    def admitted(self) -> bool:
        request = self._request
        if request is None:
            return True
        if request.expires or request.id in worker_state.revoked or worker_state.revoked_stamps:
            return not request.revoked()  # Which announces it, too.
        return True

    def limits(self) -> Limits:
        """The message's own limits, else the task's as they are *now*, else the pool's.

        Celery takes a task's limits when the worker starts; the remote command ``time_limit``
        would have no effect.
        """
        soft, hard = self._soft, self._hard
        if self._request is not None:
            hard, soft = self._request.time_limits or (None, None)
            task = self._request.task
            soft, hard = soft or task.soft_time_limit, hard or task.time_limit
        default = self._default_limits
        if not soft and not hard:
            return default
        return Limits(
            soft=seconds("soft time limit", soft or default.soft),
            hard=seconds("time limit", hard or default.hard),
        )

    def unhealthy_policy(self) -> UnhealthyPolicy | None:
        """The task's attribute ``workerpool_unhealthy_policy``; a wrong one counts as none."""
        task = None if self._request is None else self._request.task
        value = getattr(task, "workerpool_unhealthy_policy", None)
        try:
            return None if value is None else UnhealthyPolicy(value)
        except ValueError:
            logger.error("Task %s: workerpool_unhealthy_policy = %r is no policy", self, value)
            return None

    # ── what the engine tells ────────────────────────────────────────────────────────────

    def started(self, pid: int, now: float) -> None:
        self._started_at = now
        if self._target in _TRACERS:
            self._ledger.started(self._shown_name, self.level, now - self.enqueued_at)
        self._call_back("accept_callback", pid, now)

    def progressed(self, percent: float, message: str) -> None:
        if self._request is not None:
            event = TaskProgress(percent, message)
            self._request.send_event(event.NAME, **event.to_fields())

    def succeeded(self, value: Any) -> None:
        if self._target in _TRACERS:
            failed, result, runtime = value
            if failed:
                failure = RemoteFailure(*result)
                self._ended(_OUTCOMES.get(failure.control, Outcome.FAILED))
                result = exception_info(failure)
                if not failure.control:
                    self._tell_gate(EndKind.FAILED, failure.repr)
            else:
                self._ended(Outcome.COMPLETED)
                self._tell_gate(EndKind.DONE)
            value = (failed, result, runtime)
        self._call_back("callback", value)

    def failed(self, failure: RemoteFailure) -> None:
        self._ended(Outcome.FAILED)
        self._call_back("error_callback", exception_info(failure))

    def refused(self, exc: Exception) -> None:
        logger.error("Task %s cannot be run and fails: %r", self, exc)
        if self._target in _TRACERS:
            with self._engine:  # Its thread adds to them.
                self._ledger.refused(self._shown_name)
        self._call_back("error_callback", error_info(exc))
        if self._request is not None:
            self._request.acknowledge()  # Never accepted, so not acknowledged early either.

    def lost(self, loss: Loss) -> None:
        self._ended(Outcome.REVOKED if loss.cause is LossCause.TERMINATED else Outcome.LOST)
        known = self._but_for_a_shutdown(loss)
        if known is None:
            return
        request = self._request
        question = self._quarantine.question(request, known) if request is not None else None
        if question is None:
            self._judged(known, None)
        else:
            self._engine.ask(question, partial(self._lost_and_counted, known))

    def _lost_and_counted(self, loss: Loss, crashes: int | None) -> None:
        known = self._but_for_a_shutdown(loss)  # One that has come meanwhile.
        if known is not None:
            self._judged(known, crashes)

    def _but_for_a_shutdown(self, loss: Loss) -> Loss | None:
        """What the task is to be told of its end; None: nothing, as it goes back to the broker."""
        request = self._request
        cold = worker_state.should_terminate not in (None, False)
        if request is None or not (cold or loss.cause is LossCause.DEADLINE):
            return loss
        # Nobody waits for it. What is acknowledged late goes back to the broker; what was
        # acknowledged early will not run again, so it must not be left without an end.
        if request._already_revoked:
            return None  # It has its end.
        if request.task.acks_late:
            if not cold:
                request._announce_cancelled(emit_retry=False)  # As a cold shutdown has done.
            self._shutdown.given_back()
            return None
        self._shutdown.ended(str(self))
        request._already_cancelled = False
        return replace(loss, cause=LossCause.SHUTDOWN) if cold else loss

    def _judged(self, loss: Loss, crashes: int | None) -> None:
        request = self._request
        poison = None if request is None else self._quarantine.judge(request, loss, crashes)
        if poison is not None:
            self._call_back("error_callback", error_info(poison))
        else:
            self._call_back("error_callback", loss_info(loss, self._signum, str(self)))

    def soft_limit_reached(self, limit: float) -> None:
        self._call_back("timeout_callback", True, limit)

    def hard_limit_reached(self, limit: float) -> None:
        self._ended(Outcome.TIMED_OUT)
        self._call_back("timeout_callback", False, limit)

    @property
    def _shown_name(self) -> str:
        """The task's name, or what its submitter wants monitors to show in its place."""
        shadow = self._args[2].get("shadow")
        return shadow if shadow and isinstance(shadow, str) else str(self._args[0])

    def _ended(self, outcome: Outcome) -> None:
        self.has_failed = outcome is Outcome.FAILED
        if self._target in _TRACERS:
            now = time.monotonic()
            ran = now - self._started_at
            self._ledger.ended(self._shown_name, self.level, outcome, ran, now)

    def _tell_gate(self, kind: EndKind, error: str = "") -> None:
        """The child has stored the result. Of other ends Celery's signals tell the gate."""
        if self._request is not None:
            headers = self._args[2]
            ignored = self._request.task.ignore_result or headers.get("ignore_result", False)
            urgent = HEADER in headers
            self._gate.ended(self._args[1], kind, error, urgent=urgent, ignored=ignored)

    def _call_back(self, name: str, *args: object) -> None:
        callback = self._callbacks.get(name)
        if callback is not None:
            callback(*args)


def seconds(option: str, value: object) -> float | None:
    """A time limit, checked; None and 0 mean unlimited.

    Raises:
        InvalidTaskError: no number (nor is NaN), or below 0.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or not float(value) >= 0:
        raise InvalidTaskError(option, value, "seconds, as a number of at least 0, or None")
    return float(value) or None


def bare_call(target: Callable[..., object], kwargs: dict[str, Any]) -> Callable[..., object]:
    """A function with its keyword arguments bound, as the child calls positionally."""
    return partial(target, **kwargs) if kwargs else target
