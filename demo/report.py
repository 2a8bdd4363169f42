"""The statistics of a whole run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .model import ANALYSE, COMPRESS, COUNT, KINDS, Child, Kind, TaskRecord

#: Smaller files say little about compression.
MIN_COMPRESSIBLE = 1024


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and 95th percentile of some seconds; None when there are none."""

    p50: float | None
    p95: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        known = sorted(value for value in values if value is not None)
        return cls(percentile(known, 50), percentile(known, 95))


@dataclass(frozen=True, slots=True)
class KindReport:
    """The tasks of one kind, and so of one priority."""

    kind: Kind
    tasks: int
    failures: int
    queue: Spread
    duration: Spread


@dataclass(frozen=True, slots=True)
class FileReport:
    """The results for one file; None where the task failed."""

    file: str
    size: int
    packed: int | None = None
    words: int | None = None
    lines: int | None = None

    @property
    def ratio(self) -> float | None:
        """Compressed by original size."""
        return None if self.packed is None or not self.size else self.packed / self.size


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run."""

    tasks: int
    failures: int
    elapsed: float
    kinds: list[KindReport]
    children: list[Child]
    files: list[FileReport]
    lines: int
    #: Statistics by column, over the counts of all files; None where the analysis failed.
    analysis: dict[str, dict[str, float]] | None = None
    #: ``(file, reason, how many of its tasks)``
    failed_files: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def throughput(self) -> float:
        """Tasks per second."""
        return self.tasks / self.elapsed if self.elapsed else 0.0

    @property
    def total_bytes(self) -> int:
        """Size of all files that at least one task could read."""
        return sum(file.size for file in self.files)

    @property
    def words(self) -> int:
        """Words in all files."""
        return sum(file.words or 0 for file in self.files)

    def largest(self, count: int = 5) -> list[FileReport]:
        """The largest files."""
        return sorted(self.files, key=lambda file: (-file.size, file.file))[:count]

    def most_compressible(self, count: int = 5) -> list[FileReport]:
        """The files that gzip shrinks most, leaving out tiny ones."""
        known = [
            (file.ratio, file.file, file)
            for file in self.files
            if file.ratio is not None and file.size >= MIN_COMPRESSIBLE
        ]
        return [file for _ratio, _name, file in sorted(known, key=lambda item: item[:2])[:count]]


def make_report(records: Iterable[TaskRecord], children: Iterable[Child], elapsed: float) -> Report:
    """Add up the finished tasks."""
    records = list(records)
    kinds = []
    for kind in KINDS:
        mine = [record for record in records if record.kind is kind]
        kinds.append(
            KindReport(
                kind=kind,
                tasks=len(mine),
                failures=sum(record.error is not None for record in mine),
                queue=Spread.of(record.queue_time for record in mine),
                duration=Spread.of(record.runtime for record in mine),
            )
        )
    failed = Counter((record.file, record.error) for record in records if record.error is not None)
    values = [(record.kind, record.value) for record in records if record.value]
    return Report(
        tasks=len(records),
        failures=sum(kind.failures for kind in kinds),
        elapsed=elapsed,
        kinds=kinds,
        children=sorted(children, key=lambda child: child.pid),
        files=_files(records),
        lines=sum(value["lines"] for kind, value in values if kind is COUNT),
        analysis=next(
            (value["summary"]["columns"] for kind, value in values if kind is ANALYSE), None
        ),
        failed_files=[(file, reason, count) for (file, reason), count in failed.items()],
    )


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """The nearest-rank percentile of sorted values; None when there are none."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _files(records: Iterable[TaskRecord]) -> list[FileReport]:
    counted: dict[str, dict[str, Any]] = {}
    packed: dict[str, dict[str, Any]] = {}
    for record in records:
        if record.value is not None and record.kind in (COUNT, COMPRESS):
            (counted if record.kind is COUNT else packed)[record.file] = record.value
    return [
        FileReport(
            file=file,
            size=counted[file]["bytes"] if file in counted else packed[file]["input_bytes"],
            packed=packed[file]["bytes"] if file in packed else None,
            words=counted[file]["words"] if file in counted else None,
            lines=counted[file]["lines"] if file in counted else None,
        )
        for file in counted | packed
    ]
