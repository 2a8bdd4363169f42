from __future__ import annotations

import pytest
from celery import Celery

from celery_workerpool import WorkerManager
from celery_workerpool.manager import ManagerSettings
from celery_workerpool.manager.connections import close


@pytest.mark.parametrize("heard_later", ["it is gone", None])
def test_who_notices_a_loss_later_is_told_why_as_the_first_one(heard_later: str | None) -> None:
    """The first one has closed what it is heard from."""
    heard: str | None = None

    def close_app(_timeout: float) -> None:
        nonlocal heard
        heard = heard_later
        close(app)

    app = Celery("life", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.include = ["celery_workerpool.tasks"]
    with WorkerManager(
        ManagerSettings(), lambda: app, close_app, lambda _timeout: heard
    ) as manager:
        opened = manager._open()
        assert manager._lost(opened) is None
        heard = "the broker has died"
        assert [manager._lost(opened) for _ in range(3)] == ["the broker has died"] * 3
