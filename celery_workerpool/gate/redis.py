"""A store in Redis (or Valkey): each operation is one script, and one round trip."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from ..policy.graph import OnFailure
from .records import (
    Answer,
    Cause,
    CauseKind,
    Counts,
    Ending,
    EndKind,
    Parking,
    Record,
    Release,
    State,
    Sweep,
    Turn,
    Verdict,
)
from .store import BATCH, NAMED, PAGE, PAGE_OPEN, POSTPONE, Terms

#: Dependents that one script tells of an end at most, so that no script holds Redis up for long.
BUDGET = 2000


class RedisStore:
    """Keys begin with ``PREFIX{workerpool-gate}:``, so all are in one slot of a cluster.

    Arguments:
        client: a ``redis.Redis`` that returns bytes. The store closes its connections.
        prefix: to share a database with others.
    """

    def __init__(self, client: Any, terms: Terms, prefix: str = "") -> None:
        self._client = client
        self._terms = terms
        self._base = f"{prefix}{{workerpool-gate}}:"
        self._scripts: dict[str, Any] = {}

    def park(self, parkings: Sequence[Parking], now: float) -> list[Verdict]:
        items = [
            {
                "id": parking.id,
                "dependencies": parking.dependencies,
                "policy": parking.on_failure.value,
                "deadline": parking.deadline,
                "expires": parking.expires,
                "replaced": parking.replaced,
                "anew": parking.anew,
                "name": parking.name,
                "known": {end.id: [end.kind.value, end.error] for end in parking.known},
            }
            for parking in parkings
        ]
        parcels = [parking.parcel for parking in parkings]
        return [
            Verdict(Answer(answer.decode()), _cause(cause), _texts(pending), bool(awaited))
            for answer, cause, pending, awaited in self._run("park", now, items, *parcels)
        ]

    def finish(self, endings: Iterable[Ending], now: float) -> Turn:
        items = list(endings)
        done: dict[bool, list[str]] = {True: [], False: []}
        others: list[Ending] = []
        for ending in items:
            # Nearly all are so, and come by the thousand: as two texts they cost a third.
            if ending.kind is EndKind.DONE:
                done[ending.keep].append(ending.id)
            else:
                others.append(ending)
        texts = ["\0".join(done[keep]).encode() for keep in (True, False)]
        return self._turn("finish", now, others, *texts, again=not items)

    def released(self, publications: Iterable[tuple[str, str]], now: float) -> None:
        self._run("released", now, list(publications))

    def claim(self, publications: Sequence[tuple[str, str]], now: float) -> list[bool]:
        return [bool(answer) for answer in self._run("claim", now, list(publications))]

    def withdraw(self, causes: Mapping[str, Cause], now: float) -> list[Release]:
        items = [[i, cause.kind, cause.dependency, cause.error] for i, cause in causes.items()]
        return self._turn("withdraw", now, items).releases

    def sweep(self, now: float) -> Sweep:
        token = uuid.uuid4().hex
        releases, more, tasks, pending, overdue, used = self._run("sweep", now, [], token=token)
        return Sweep(
            _turn(releases, more, token),
            _texts(tasks),
            _texts(pending),
            {task.decode(): _texts(unknown) for task, unknown in overdue},
            bool(used),
        )

    def in_use(self) -> bool:
        return bool(self._client.exists(f"{self._base}used"))

    def look(self, ids: Iterable[str]) -> dict[str, Record]:
        names = list(ids)
        found = self._run("look", 0.0, names)
        return {name: _record(name, *got) for name, got in zip(names, found, strict=True) if got}

    def counts(self) -> Counts:
        parked, due = (f"{self._base}{kind}:{self._terms.home}" for kind in ("parked", "due"))
        with self._client.pipeline(transaction=False) as pipe:
            pipe.zcard(parked).zrange(parked, 0, 0, withscores=True).zcard(due)
            count, oldest, unclaimed = pipe.execute()
        return Counts(count, oldest[0][1] if oldest else None, unclaimed)

    def close(self) -> None:
        self._client.connection_pool.disconnect()

    def _turn(
        self, name: str, now: float, items: list[Any], *texts: bytes, again: bool = False
    ) -> Turn:
        token = uuid.uuid4().hex
        releases, more = self._run(name, now, items, *texts, token=token, again=again)
        return _turn(releases, more, token)

    def _run(
        self,
        name: str,
        now: float,
        items: list[Any],
        *texts: bytes,
        token: str = "",
        again: bool = False,
    ) -> Any:
        terms = self._terms
        arguments = {
            "now": now,
            "home": terms.home,
            "token": token,
            "items": items,
            "again": again,
            "keep": max(1, round(terms.keep)),
            "lease": terms.lease,
            "repeat": terms.repeat,
            "batch": BATCH,
            "budget": BUDGET,
            "page": PAGE,
            "page_open": PAGE_OPEN,
            "named": NAMED,
            "postpone": POSTPONE,
        }
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = self._client.register_script(_source(name))
        return script(keys=[self._base], args=[json.dumps(arguments), *texts])


@cache
def _source(name: str) -> str:
    folder = resources.files(__package__) / "lua"
    return "".join((folder / f"{part}.lua").read_text() for part in ("common", name))


def _turn(releases: Iterable[Any], more: int, token: str) -> Turn:
    found = [Release(i.decode(), token, parcel, _cause(why)) for i, parcel, *why in releases]
    return Turn(found, bool(more))


def _cause(parts: Sequence[bytes | None] | None) -> Cause | None:
    if not parts or parts[0] is None:
        return None
    kind, dependency, error = (part.decode() if part else "" for part in parts)
    return Cause(CauseKind(kind), dependency, error)


def _texts(values: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(value.decode() for value in values)


def _record(task_id: str, got: Any, pending: Any, dependents: Any, ended: Any) -> Record:
    state, dependencies, policy, at, deadline, name, *cause = got
    ending = Ending(task_id, EndKind(ended[0].decode()), ended[1].decode()) if ended else None
    if state is None:
        state = State.UNSEEN if ending is None else State.ENDED
        return Record(task_id, state, dependents=_texts(dependents), ending=ending)
    return Record(
        task_id,
        State(state.decode()),
        tuple(json.loads(dependencies)),
        tuple(sorted(_texts(pending))),
        _texts(dependents),
        OnFailure(policy.decode()),
        float(at),
        float(deadline),
        _cause(cause),
        ending,
        (name or b"").decode(),
    )
