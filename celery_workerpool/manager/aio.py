"""The facade for asyncio too: nothing that is awaited here blocks the loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from types import TracebackType
from typing import Any, Self

from ..gate.tree import Node
from .asking import ANSWER_TIMEOUT
from .events import ManagerEvent
from .listeners import ROOM
from .manager import Manager
from .questions import Metrics, NodeHealth, WorkerStatus
from .records import Task
from .waiting import Waiting


class WorkerManager(Manager):
    """Submits tasks to the workers of an app, and follows them.

    Methods that begin with ``a`` are those of :class:`~celery_workerpool.manager.manager.Manager`
    to be awaited. It is an asynchronous context manager, too.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.ashutdown(wait=exc_type is None)

    async def asubmit_task(self, *args: Any, **options: Any) -> str:
        """See ``submit_task``."""
        return await asyncio.to_thread(self.submit_task, *args, **options)

    async def asubmit_many(self, *args: Any, **options: Any) -> list[str]:
        """See ``submit_many``."""
        return await asyncio.to_thread(self.submit_many, *args, **options)

    async def asubmit_graph(self, *args: Any, **options: Any) -> dict[str, str]:
        """See ``submit_graph``."""
        return await asyncio.to_thread(self.submit_graph, *args, **options)

    async def aretry_task(self, *args: Any, **options: Any) -> str:
        """See ``retry_task``."""
        return await asyncio.to_thread(self.retry_task, *args, **options)

    async def aretry_graph(self, *args: Any, **options: Any) -> dict[str, str]:
        """See ``retry_graph``."""
        return await asyncio.to_thread(self.retry_graph, *args, **options)

    async def aresult(self, task_id: str, timeout: float | None = None) -> Any:
        """See ``result``. Holds no thread while it waits."""
        self._settle()
        if not self._tracker.all_ended([task_id]):
            await asyncio.to_thread(self._open)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[BaseException | None, Any]] = loop.create_future()

        def tell(error: BaseException | None, value: Any) -> None:
            if not done.done():
                done.set_result((error, value))

        def callback(error: BaseException | None, value: Any) -> None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits.
                loop.call_soon_threadsafe(tell, error, value)

        others = self._tracker.follow([task_id])
        try:
            self._follower.call_back(task_id, callback)
            error, value = await asyncio.wait_for(done, timeout)
        except TimeoutError:
            raise TimeoutError(f"task {task_id} has not ended within {timeout:g} s") from None
        finally:
            self._follower.forget(task_id, callback)
            self._tracker.unfollow(others)
        if error is not None:
            raise error
        return value

    async def aget_task(self, task_id: str) -> Task | None:
        """See ``get_task``."""
        return await asyncio.to_thread(self.get_task, task_id)

    async def acancel_task(self, task_id: str) -> bool:
        """See ``cancel_task``."""
        return await asyncio.to_thread(self.cancel_task, task_id)

    async def agraph(self, task_ids: str | Collection[str]) -> dict[str, Node]:
        """See ``graph``."""
        return await asyncio.to_thread(self.graph, task_ids)

    async def awhy_waiting(self, task_id: str, timeout: float = ANSWER_TIMEOUT) -> Waiting:
        """See ``why_waiting``."""
        return await asyncio.to_thread(self.why_waiting, task_id, timeout)

    async def aget_metrics(self, timeout: float = ANSWER_TIMEOUT) -> Metrics:
        """See ``get_metrics``."""
        return await asyncio.to_thread(self.get_metrics, timeout)

    async def aget_worker_status(self, timeout: float = ANSWER_TIMEOUT) -> list[WorkerStatus]:
        """See ``get_worker_status``."""
        return await asyncio.to_thread(self.get_worker_status, timeout)

    async def aperform_health_checks(
        self, timeout: float = ANSWER_TIMEOUT
    ) -> dict[str, NodeHealth]:
        """See ``perform_health_checks``."""
        return await asyncio.to_thread(self.perform_health_checks, timeout)

    async def ashutdown(self, wait: bool = True, timeout: float = 30.0) -> None:
        """See ``shutdown``."""
        await asyncio.to_thread(self.shutdown, wait, timeout)

    async def events(self, *names: str) -> AsyncIterator[ManagerEvent]:
        """Events of these names as they come, to be iterated over with ``async for``.

        From the first step of the iteration on, until the manager is shut down. Of events that
        are not taken in time the newest are dropped.
        """
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[ManagerEvent | None] = asyncio.Queue()

        def put(event: ManagerEvent | None) -> None:
            if event is None or queue.qsize() < ROOM:
                queue.put_nowait(event)

        def listener(event: ManagerEvent | None) -> None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody iterates.
                loop.call_soon_threadsafe(put, event)

        try:
            self._listeners.on_close(listener)
            for name in names:
                await asyncio.to_thread(self.on, name, listener)
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._listeners.forget(listener)
