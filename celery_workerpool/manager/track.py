"""A progress bar for tasks, in the terminal (needs rich)."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .manager import Manager

#: Seconds between two looks.
EVERY = 0.1
#: Tasks that get a line of their own; of more there is one line for all.
MAX_LINES = 10


def track(manager: Manager, task_ids: Collection[str], description: str) -> None:
    """Show how far tasks are until all have ended.

    Raises:
        ImportError: rich is not installed.
    """
    from rich.progress import Progress

    ids = list(task_ids)
    with Progress() as progress:
        whole = progress.add_task(description, total=len(ids))
        lines = {}
        if len(ids) <= MAX_LINES:
            lines = {task_id: progress.add_task(f"  {task_id[:8]}", total=100) for task_id in ids}
        ended = False
        while not ended:
            ended = manager.wait(ids, EVERY)
            tasks = [manager.get_task(task_id) for task_id in ids]
            progress.update(
                whole, completed=sum(task is not None and task.finished for task in tasks)
            )
            for task in tasks:
                if task is not None and task.id in lines:
                    shown = 100.0 if task.finished else task.progress or 0.0
                    text = f"  {task.id[:8]} {task.status.name.lower()} {task.message}".rstrip()
                    progress.update(lines[task.id], completed=shown, description=text)
