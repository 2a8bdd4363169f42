"""Results of many tasks at once, where the backend can do that, and errors as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from celery import states
from celery.backends.base import KeyValueStoreBackend
from kombu.utils.encoding import safe_repr


def get_many(backend: Any, task_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """What is stored of tasks, as Celery gives it, without those of which nothing is.

    One round trip on backends that can answer many questions in one; by key, so that nothing is
    subscribed to.
    """
    if task_ids and isinstance(backend, KeyValueStoreBackend):
        stored = backend.mget([backend.get_key_for_task(task_id) for task_id in task_ids])
        if isinstance(stored, list | tuple):
            return {
                task_id: backend.decode_result(value)
                for task_id, value in zip(task_ids, stored, strict=True)
                if value
            }
    found = {task_id: backend.get_task_meta(task_id, cache=False) for task_id in task_ids}
    return {task_id: meta for task_id, meta in found.items() if meta["status"] != states.PENDING}


def error_text(result: object) -> str:
    """The ``repr`` of a stored exception, whose class may be anybody's: never raises."""
    return str(safe_repr(result))  # type: ignore[no-untyped-call]


class SuccessfulResults(Mapping[str, Any]):
    """The results of those tasks that have succeeded, by id; fetched when first looked at."""

    def __init__(self, backend: Any, task_ids: Sequence[str]) -> None:
        self._backend = backend
        self._ids = task_ids
        self._fetched: dict[str, Any] | None = None

    def __getitem__(self, task_id: str) -> Any:
        return self._results[task_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    @property
    def _results(self) -> dict[str, Any]:
        if self._fetched is None:
            metas = get_many(self._backend, self._ids) if self._ids else {}
            self._fetched = {
                task_id: metas[task_id]["result"]
                for task_id in self._ids
                if task_id in metas and metas[task_id]["status"] == states.SUCCESS
            }
        return self._fetched
