"""Files far larger than what a handler may hold: memory is measured in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from .support import python

MIB = 1 << 20
#: With LARGE_FILE_MIB=1024 in the environment it is a gibibyte, and takes minutes.
SIZE = int(os.environ.get("LARGE_FILE_MIB", "128")) * MIB
#: Beyond what the interpreter and the libraries take.
ALLOWED = 40 * MIB


def written(path: Path, mebibytes: int) -> Path:
    """Half of it incompressible; no holes."""
    with path.open("wb") as file:
        for number in range(mebibytes):
            noise = os.urandom(MIB // 2)
            line = b"%08d the quick brown fox jumps over the lazy dog\n" % number
            file.write(noise + (line * (MIB // 2 // len(line) + 1))[: MIB // 2])
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("large") / "large.txt", SIZE // MIB)


def run_measured(kind: str, *payloads: dict[str, Any], warm: dict[str, Any]) -> list[Any]:
    """Run tasks one after the other; the results, and by how much the peak of memory grew."""
    code = """
import json, resource, sys
from celery_workerpool.handlers import TaskContext, run, task_type
kind, warm, payloads = json.loads(sys.argv[1])
seen = []
ctx = TaskContext(report=lambda percent, message: seen.append(percent))
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
run(task_type(kind), warm, ctx)
before = peak()
results = [run(task_type(kind), payload, ctx) for payload in payloads]
print(json.dumps([*results, len(set(seen)), peak() - before]))
"""
    found: list[Any] = json.loads(
        python(code, json.dumps([kind, warm, payloads]), env={"REPORTS_KEY": "A" * 43 + "="})
    )
    *results, steps, grown = found
    assert grown < ALLOWED, f"{grown / MIB:.0f} MiB"
    assert steps >= 40
    return results


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_hash_and_count(large: Path) -> None:
    name = str(large)
    hashed, counted = run_measured(
        "FILE_IO",
        {"operation": "hash", "input": name},
        {"operation": "count", "input": name},
        warm={"operation": "hash", "input": __file__},
    )
    assert hashed["digest"] == digest(large)
    assert counted["bytes"] == SIZE


def test_split_and_merge(large: Path, tmp_path: Path) -> None:
    parts = [str(tmp_path / f"large.000{n}.txt") for n in (1, 2, 3)]
    split, _ = run_measured(
        "FILE_IO",
        {
            "operation": "split",
            "input": str(large),
            "output_dir": str(tmp_path),
            "bytes": SIZE // 3 + MIB,
        },
        {"operation": "merge", "inputs": parts, "output": str(tmp_path / "merged")},
        warm={"operation": "hash", "input": __file__},
    )
    assert [part["output"] for part in split["parts"]] == parts
    assert digest(tmp_path / "merged") == digest(large)


@pytest.mark.parametrize(
    ("algorithm", "level", "mebibytes"),
    # The slow ones get less, and still more than they may hold.
    [("gzip", 1, SIZE // MIB), ("zstd", 3, SIZE // MIB), ("bz2", 1, 48), ("lzma", 0, 48)],
)
def test_compress_and_decompress(
    tmp_path: Path, algorithm: str, level: int, mebibytes: int
) -> None:
    large = written(tmp_path / "large", mebibytes)
    packed, again = tmp_path / "packed", tmp_path / "again"
    run_measured(
        "COMPRESSION",
        {"input": str(large), "output": str(packed), "algorithm": algorithm, "level": level},
        {
            "operation": "decompress",
            "input": str(packed),
            "output": str(again),
            "algorithm": algorithm,
        },
        warm={"data": "x", "algorithm": algorithm, "output": str(tmp_path / "warm")},
    )
    assert packed.stat().st_size < 0.6 * large.stat().st_size
    assert digest(again) == digest(large)


def test_encrypt_and_decrypt(large: Path, tmp_path: Path) -> None:
    sealed, again = tmp_path / "sealed", tmp_path / "again"
    base = {"key": {"env": "REPORTS_KEY"}}
    run_measured(
        "ENCRYPTION",
        {**base, "operation": "encrypt", "input": str(large), "output": str(sealed)},
        {**base, "operation": "decrypt", "input": str(sealed), "output": str(again)},
        warm={**base, "operation": "encrypt", "data": "x", "output": str(tmp_path / "warm")},
    )
    assert digest(again) == digest(large)


def test_a_bomb_does_not_get_far(tmp_path: Path) -> None:
    code = """
import bz2, gzip, json, lzma, resource, sys, zstandard
from celery_workerpool.errors import TaskDataError
from celery_workerpool.handlers import TaskContext, run, task_type
size = 300 << 20
zeros = bytes(1 << 20)
def write(opened):
    with opened as file:
        for _ in range(size >> 20): file.write(zeros)
folder = sys.argv[1]
write(gzip.open(folder + "/gzip", "wb", 1))
write(zstandard.open(folder + "/zstd", "wb"))
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
for algorithm in ("gzip", "zstd"):
    try:
        run(task_type("COMPRESSION"), {"operation": "decompress", "algorithm": algorithm,
            "input": f"{folder}/{algorithm}"}, TaskContext())
    except TaskDataError as exc:
        assert "max_bytes" in str(exc)
    else:
        raise SystemExit("unpacked")
print(peak() - before)
"""
    assert int(python(code, tmp_path)) < 150 * MIB
