"""How a task ends that must not run: what its headers say, as errors and as reasons for others."""

from __future__ import annotations

from typing import Any

from celery.worker import state as worker_state

from ..errors import DependencyFailedError, InvalidTaskError, NoDependencyStore
from ..policy.graph import HEADER
from .parcel import CAUSE
from .records import Cause, CauseKind

#: What the reason of a task begins with that was not run. Such reasons are passed on as they are,
#: so that the last task of a long chain names the first that failed.
_NOT_RUN = "not run, since "
_LONG_AGO = "1970-01-01T00:00:00+00:00"


def cause_to_plain(cause: Cause) -> list[str]:
    """For a message header."""
    return [cause.kind.value, cause.dependency, cause.error]


def prepare(headers: dict[str, Any]) -> str | None:
    """Change the headers of a message that must not run, so that Celery ends it right away.

    Returns what cancels it, for the log; None where that is said otherwise.
    """
    kind, dependency, error = _parts(headers[CAUSE])
    headers["eta"] = None
    if kind is CauseKind.EXPIRED:
        headers["expires"] = _LONG_AGO  # By the clock of whoever released it, it has.
    elif kind is CauseKind.REVOKED:
        worker_state.revoked.add(headers["id"])
        if dependency:
            return f"task {dependency}, for which it waited, did not succeed: {error}"
    return None


def error_of(value: Any) -> Exception:
    """The error with which a message fails that has this header."""
    kind, dependency, error = _parts(value)
    match kind:
        case CauseKind.CYCLE:
            return InvalidTaskError(HEADER, [dependency], f"no cycle: {error}")
        case CauseKind.UNKNOWN:
            text = f"nothing was heard of {dependency} in time, for which this task waited"
            return DependencyFailedError(text, dependency)
        case CauseKind.FAILED | CauseKind.CANCELLED:
            verb = "failed" if kind is CauseKind.FAILED else "was cancelled"
            text = f"task {dependency}, for which this one waited, {verb}: {error}"
            return DependencyFailedError(text, dependency)
        case CauseKind.UNKEPT:
            return NoDependencyStore(
                f"the store of tasks that wait does not take this one: {error}"
            )
        case _:
            return InvalidTaskError(CAUSE, value, "[kind, task id, error]")


def reason_of(exc: BaseException) -> str:
    """A task's error as those see it who wait for that task."""
    return reason(str(exc)) if isinstance(exc, DependencyFailedError) else repr(exc)


def reason(text: str) -> str:
    """The same for the message of a :class:`DependencyFailedError`."""
    _, found, rest = text.partition(_NOT_RUN)
    return _NOT_RUN + (rest if found else text.replace(", for which this one waited,", ""))


def _parts(value: Any) -> tuple[CauseKind | None, str, str]:
    """Kind, dependency and error; no kind, where the header cannot be understood."""
    try:
        kind = CauseKind(value[0])
    except (ValueError, TypeError, IndexError, KeyError):
        return None, "", ""
    _, dependency, error = (*map(str, value), "", "")[:3]
    return kind, dependency, error
