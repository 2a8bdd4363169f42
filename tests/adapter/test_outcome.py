"""What Celery is told about a task's end."""

from __future__ import annotations

import pickle

import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import Terminated, WorkerLostError
from celery.exceptions import Ignore, Reject, Retry

from celery_workerpool.adapter.outcome import error_info, exception_info, loss_info
from celery_workerpool.errors import InvalidTaskError, MemoryLimitExceeded
from celery_workerpool.types import Loss, LossCause, RemoteFailure


def failure(module: str, name: str, *args: object, **more: object) -> RemoteFailure:
    text = f"{name}{args!r}"
    return RemoteFailure(module, name, args, text, f"Traceback\n{text}\n", **more)


def test_a_stand_in_looks_like_the_exception_and_is_none() -> None:
    info = exception_info(failure("shop.errors", "OutOfStock", "tea", 3))
    exc = info.exception
    assert isinstance(info, ExceptionInfo)
    assert (info.type.__module__, info.type.__qualname__) == ("shop.errors", "OutOfStock")
    assert exc.args == ("tea", 3)
    assert repr(exc) == "OutOfStock('tea', 3)"
    assert str(info) == "Traceback\nOutOfStock('tea', 3)\n"
    assert "Traceback" in str(exc.__cause__)
    assert info.internal is False


@pytest.mark.parametrize(
    ("module", "name", "kind"),
    [
        ("builtins", "MemoryError", MemoryError),
        ("billiard.exceptions", "WorkerLostError", WorkerLostError),
        ("builtins", "SystemExit", SystemExit),
        ("celery.exceptions", "Retry", Retry),
    ],
)
def test_an_exception_with_a_meaning_for_the_worker_loses_it(
    module: str, name: str, kind: type[BaseException]
) -> None:
    exc = exception_info(failure(module, name, "x")).exception
    assert not isinstance(exc, kind)
    assert type(exc).__name__ == name


def test_a_nested_class_keeps_its_qualified_name() -> None:
    kind = exception_info(failure("shop", "Order.Missing")).type
    assert (kind.__name__, kind.__qualname__) == ("Missing", "Order.Missing")


def test_equal_names_share_a_class_and_never_an_instance() -> None:
    one, other = (exception_info(failure("shop", "Broken", n)) for n in (1, 2))
    assert one.type is other.type
    assert one.exception.args != other.exception.args


def test_celerys_control_exceptions_are_rebuilt() -> None:
    retry = exception_info(
        failure("celery.exceptions", "Retry", "in 3 s", control="retry", detail="KeyError('k')")
    ).exception
    assert type(retry) is Retry
    assert (retry.message, repr(retry.exc)) == ("in 3 s", "KeyError('k')")
    for requeue in (True, False):
        reject = exception_info(
            failure("celery.exceptions", "Reject", "why", control="reject", detail=requeue)
        ).exception
        assert type(reject) is Reject
        assert (reject.reason, reject.requeue) == ("why", requeue)
    assert type(exception_info(failure("c", "Ignore", control="ignore")).exception) is Ignore
    left = exception_info(failure("b", "SystemExit", 3, control="exit", detail=3)).exception
    assert (type(left), left.code) == (SystemExit, 3)
    ctrl_c = exception_info(failure("b", "KeyboardInterrupt", control="interrupt")).exception
    assert type(ctrl_c) is KeyboardInterrupt


@pytest.mark.parametrize("control", ["retry", "reject"])
def test_a_control_exception_without_arguments(control: str) -> None:
    assert exception_info(failure("c", "X", control=control)).exception is not None


def test_internal_errors_stay_internal() -> None:
    assert exception_info(failure("shop", "Broken", internal=True)).internal is True


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (LossCause.EXITED, WorkerLostError),
        (LossCause.CHANNEL, WorkerLostError),
        (LossCause.SHUTDOWN, WorkerLostError),
        (LossCause.MEMORY, MemoryLimitExceeded),
    ],
)
def test_a_loss_is_an_error_that_tells_it_all(cause: LossCause, kind: type[Exception]) -> None:
    loss = Loss(cause, 7, -9, "signal 9 (SIGKILL)", 2**20, 0.5, False, 2**21)
    info = loss_info(loss, None, "shop.add[task-1]")
    assert type(info.exception) is kind
    assert str(info.exception) == f"{loss} Task: shop.add[task-1]."
    assert str(loss) in str(info)


@pytest.mark.parametrize(("signum", "told"), [(15, 15), (None, 0)])
def test_a_terminated_task_names_its_signal(signum: int | None, told: int) -> None:
    loss = Loss(LossCause.TERMINATED, 7, -15, "signal 15 (SIGTERM)")
    exc = loss_info(loss, signum, "shop.add[task-1]").exception
    assert type(exc) is Terminated
    assert exc.args == (told,)


def test_an_error_of_the_pools_own_reads_like_a_traceback() -> None:
    info = error_info(InvalidTaskError("timelimit", "soon", "seconds"))
    assert str(info) == (
        "celery_workerpool.errors.InvalidTaskError: timelimit = 'soon': expected seconds\n"
    )


def test_an_outcome_can_be_pickled_where_its_class_can() -> None:
    info = error_info(InvalidTaskError("timelimit", "soon", "seconds"))
    assert str(pickle.loads(pickle.dumps(info)).exception) == str(info.exception)
