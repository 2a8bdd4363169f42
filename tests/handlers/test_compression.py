"""COMPRESSION: every algorithm, both directions, and what is not whole."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_workerpool import WorkerTaskType as T
from celery_workerpool.errors import TaskCancelled, TaskDataError

from .support import do

ALGORITHMS = ["gzip", "bz2", "lzma", "zstd"]
TEXT = b"".join(b"%06d the quick brown fox jumps over the dog\n" % n for n in range(30_000))
PLAIN_TOOLS = {
    "gzip": gzip.decompress,
    "bz2": bz2.decompress,
    "lzma": lzma.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


def compress(**payload: Any) -> Any:
    return do(T.COMPRESSION, payload)


def decompress(**payload: Any) -> Any:
    return do(T.COMPRESSION, {"operation": "decompress", **payload})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(data=st.binary(max_size=5000))
@settings(max_examples=30, deadline=None)
def test_round_trip(algorithm: str, data: bytes) -> None:
    packed = compress(data=data, algorithm=algorithm)
    assert PLAIN_TOOLS[algorithm](packed["data"]) == data
    assert decompress(data=packed["data"], algorithm=algorithm)["data"] == data


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_files(tmp_path: Path, algorithm: str) -> None:
    (tmp_path / "plain").write_bytes(TEXT)
    seen: list[float] = []
    result = do(
        T.COMPRESSION,
        {
            "input": str(tmp_path / "plain"),
            "output": str(tmp_path / "packed"),
            "algorithm": algorithm,
        },
        report=lambda percent, message: seen.append(percent),
    )
    packed = (tmp_path / "packed").stat().st_size
    assert result == {
        "output": str(tmp_path / "packed"),
        "bytes": packed,
        "algorithm": algorithm,
        "input_bytes": len(TEXT),
        "ratio": packed / len(TEXT),
    }
    assert seen == sorted(seen) and seen[-1] == 100
    result = decompress(
        input=str(tmp_path / "packed"), output=str(tmp_path / "again"), algorithm=algorithm
    )
    assert (tmp_path / "again").read_bytes() == TEXT
    assert result["ratio"] == packed / len(TEXT)


def test_the_systems_own_tool_reads_it(tmp_path: Path) -> None:
    if not (tool := shutil.which("gzip")):
        pytest.skip("no gzip here")
    packed = compress(data=TEXT)["data"]
    assert subprocess.run([tool, "-d"], input=packed, stdout=-1, check=True).stdout == TEXT


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_input_gives_the_same_bytes(algorithm: str) -> None:
    first, second = (compress(data=TEXT, algorithm=algorithm)["data"] for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("algorithm", "low", "high"), [("gzip", 1, 9), ("lzma", 0, 6)])
def test_levels(algorithm: str, low: int, high: int) -> None:
    data = " ".join(str(n * n % 10_007) for n in range(50_000)).encode()
    sizes = [compress(data=data, algorithm=algorithm, level=n)["bytes"] for n in (low, high)]
    assert sizes[1] < sizes[0]


def test_text_is_utf_8() -> None:
    packed = compress(data="grün")["data"]
    assert decompress(data=packed)["data"] == "grün".encode()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_streams_one_after_the_other(algorithm: str) -> None:
    packed = compress(data=b"one", algorithm=algorithm)["data"]
    packed += compress(data=b"two", algorithm=algorithm)["data"]
    assert decompress(data=packed, algorithm=algorithm)["data"] == b"onetwo"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_cut_short_is_noticed_wherever(algorithm: str) -> None:
    packed = compress(data=TEXT[:3000] + bytes(range(256)) * 10, algorithm=algorithm)["data"]
    for size in range(1, len(packed)):
        with pytest.raises(TaskDataError, match=f"no complete {algorithm} stream"):
            decompress(data=packed[:size], algorithm=algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(junk=st.binary(min_size=1, max_size=200))
@settings(max_examples=50, deadline=None)
def test_junk_is_an_error_of_the_data_or_empty(algorithm: str, junk: bytes) -> None:
    with contextlib.suppress(TaskDataError):
        decompress(data=junk, algorithm=algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_changed_byte_is_noticed(algorithm: str) -> None:
    data = bytes(i * i % 251 for i in range(5000))
    packed = bytearray(compress(data=data, algorithm=algorithm)["data"])
    packed[len(packed) // 2] ^= 0x10
    with pytest.raises(TaskDataError):
        decompress(data=bytes(packed), algorithm=algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_bombs_are_stopped_and_nothing_is_left(tmp_path: Path, algorithm: str) -> None:
    bomb = compress(data=bytes(20_000_000), algorithm=algorithm)["data"]
    assert len(bomb) < 40_000
    with pytest.raises(TaskDataError, match=r"larger than 1000000 bytes \(max_bytes\)"):
        decompress(
            data=bomb, algorithm=algorithm, max_bytes=1_000_000, output=str(tmp_path / "out")
        )
    assert list(tmp_path.iterdir()) == []
    assert decompress(data=bomb, algorithm=algorithm)["bytes"] == 20_000_000


def test_a_result_is_limited_without_being_told() -> None:
    bomb = compress(data=bytes(65 << 20), algorithm="zstd")["data"]
    with pytest.raises(TaskDataError, match="larger than 67108864 bytes"):
        decompress(data=bomb, algorithm="zstd")


def test_a_cancelled_task_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(TEXT)
    asked = iter([False, True])
    with pytest.raises(TaskCancelled):
        do(
            T.COMPRESSION,
            {"input": str(tmp_path / "plain"), "output": str(tmp_path / "packed")},
            is_cancelled=lambda: next(asked),
        )
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


def test_a_file_may_be_replaced_by_its_compressed_form(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    compress(input=str(path), output=str(path))
    assert gzip.decompress(path.read_bytes()) == TEXT
