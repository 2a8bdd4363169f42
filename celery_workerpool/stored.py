"""Results of many tasks at once, where the backend can do that, and errors as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from celery import states
from celery.backends.base import KeyValueStoreBackend
from kombu.utils.encoding import safe_repr

#: The task behind every task type; its first argument names the type.
TASK = "celery_workerpool.run"
#: Ids that one query of a database names. SQLite takes 32,766.
CHUNK = 5000


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
    if any(cls.__name__ == "DatabaseBackend" for cls in type(backend).__mro__):
        return _of_database(backend, task_ids)
    found = {task_id: backend.get_task_meta(task_id, cache=False) for task_id in task_ids}
    return {task_id: meta for task_id, meta in found.items() if meta["status"] != states.PENDING}


def _of_database(backend: Any, task_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The same as the backend gives of each."""
    task, found = backend.task_cls, {}
    session = backend.ResultSession()
    try:
        for start in range(0, len(task_ids), CHUNK):
            wanted = task.task_id.in_(task_ids[start : start + CHUNK])
            for row in session.query(task).filter(wanted):
                meta = row.to_dict()
                meta["result"] = backend._decode_stored_result(meta["result"])
                for name in ("args", "kwargs", "children"):
                    if meta.get(name) is not None:
                        meta[name] = backend.decode(meta[name])
                meta.pop("stamps", None)
                found[meta["task_id"]] = backend.meta_from_decoded(meta)
    finally:
        session.close()
    return {task_id: found[task_id] for task_id in task_ids if task_id in found}


def shown_name(meta: Mapping[str, Any]) -> str:
    """A task's name, or its type; empty where the backend keeps none (``result_extended``)."""
    name, args = str(meta.get("name") or ""), meta.get("args")
    return str(args[0]) if name == TASK and isinstance(args, list | tuple) and args else name


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

    def __json__(self) -> dict[str, Any]:
        """For kombu's serializer: a task may return it."""
        return self._results

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
