"""Hash files from asyncio: ``python examples/asyncio_hashes.py FILE…``.

Nothing that is awaited here blocks the loop, and waiting for a result takes no thread; a view of
an asynchronous web framework does the same. Needs ``pip install "celery_workerpool[embedded]"``.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence

from celery_workerpool import WorkerManager, WorkerTaskType, create_worker_manager


async def main(files: Sequence[str]) -> None:
    """Print the SHA-256 of each file, in the order in which they were named."""
    manager = create_worker_manager(min_workers=1, max_workers=4)
    watching = asyncio.create_task(watch(manager))
    try:
        hashes = await asyncio.gather(*(sha256(manager, file) for file in files))
        for file, digest in zip(files, hashes, strict=True):
            print(digest, file)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await manager.ashutdown()


async def sha256(manager: WorkerManager, file: str) -> str:
    """The hash of one file, made by a worker."""
    task_id = await manager.asubmit_task(
        WorkerTaskType.FILE_IO, {"operation": "hash", "input": file}, metadata={"file": file}
    )
    result = await manager.aresult(task_id, timeout=60)
    return str(result["digest"])


async def watch(manager: WorkerManager) -> None:
    """Say what is done, while it is done."""
    async with contextlib.aclosing(manager.events("task_completed")) as events:
        async for event in events:
            print(f"# done: {event.task.metadata['file']}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: asyncio_hashes.py FILE…")
    asyncio.run(main(sys.argv[1:]))
