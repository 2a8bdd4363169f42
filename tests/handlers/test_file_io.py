from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery_workerpool import WorkerTaskType as T
from celery_workerpool.errors import TaskCancelled, TaskDataError
from celery_workerpool.handlers import Files, file_io

from .support import do, refusal

ANY = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def io(operation: str, **payload: Any) -> Any:
    return do(T.FILE_IO, {"operation": operation, **payload})


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1", "md5", "blake2b", "sha3_256"])
def test_hash(tmp_path: Path, algorithm: str) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "f").write_bytes(content)
    assert io("hash", input=str(tmp_path / "f"), algorithm=algorithm) == {
        "digest": hashlib.new(algorithm, content).hexdigest(),
        "algorithm": algorithm,
        "bytes": len(content),
    }


@given(content=st.binary(max_size=200) | st.text(" ab\n\t", max_size=60).map(str.encode))
@ANY
def test_counts_do_not_depend_on_the_chunks(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    expected = {
        "bytes": len(content),
        "lines": content.count(b"\n") + (not content.endswith(b"\n") and content != b""),
        "words": len(content.split()),
    }
    for chunk in (1, 3, 1 << 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(file_io, "CHUNK", chunk)
            assert io("count", input=str(path)) == expected


def test_parse_csv(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('name,age\n"Ann, Lee",31\nBob\n"two\nlines",5\n')
    result = io("parse", input=str(path), format="csv")
    assert result == {
        "rows": [{"name": "Ann, Lee", "age": "31"}, {"name": "two\nlines", "age": "5"}],
        "count": 2,
        "columns": ["name", "age"],
        "errors": ["line 3: 1 values for 2 columns"],
        "error_count": 1,
    }


def test_parse_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1}\n\nnot json\n[NaN]\n' + "[" * 100_000 + "\n")
    result = io("parse", input=str(path), format="jsonl")
    assert result["rows"] == [{"a": 1}, [None]]
    assert result["error_count"] == 2
    assert result["errors"][0].startswith("line 3: ")


def test_parse_lines_with_offset_and_limit(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    path.write_bytes(b"one\r\ntwo\nthr\xffee\nfour")
    result = io("parse", input=str(path), offset=1, limit=2)
    assert result["rows"] == ["two", "thr\ufffdee"]
    assert result["count"] == 4
    latin = io("parse", input=str(path), encoding="latin-1", offset=2, limit=1)
    assert latin["rows"] == ["thrÿee"]


def test_parse_to_a_file(tmp_path: Path) -> None:
    path, output = tmp_path / "t.csv", tmp_path / "t.jsonl"
    path.write_text("a;b\n1;ü\n2;y\n")
    result = io("parse", input=str(path), output=str(output), format="csv", delimiter=";")
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert rows == [{"a": "1", "b": "ü"}, {"a": "2", "b": "y"}]
    assert (result["rows"], result["count"]) == ([], 2)
    assert result["bytes"] == output.stat().st_size


def test_a_file_that_is_no_text_of_that_encoding(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"no byte order mark")
    with pytest.raises(TaskDataError, match="is no utf-16 text"):
        io("parse", input=str(tmp_path / "f"), encoding="utf-16")


def test_a_file_without_line_ends_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(bytes(3 << 20))
    for format in ("lines", "csv", "jsonl"):
        with pytest.raises(TaskDataError, match="line 1 has more than 1048576 characters"):
            io("parse", input=str(path), format=format)


@given(content=st.binary(max_size=300), size=st.integers(1, 50), by_lines=st.booleans())
@ANY
def test_what_was_split_is_merged_again(
    tmp_path: Path, content: bytes, size: int, by_lines: bool
) -> None:
    path, parts, again = tmp_path / "all.bin", tmp_path / "parts", tmp_path / "again"
    parts.mkdir(exist_ok=True)
    path.write_bytes(content)
    measure = {"lines": size} if by_lines else {"bytes": size}
    result = io("split", input=str(path), output_dir=str(parts), **measure)
    assert result["count"] == len(result["parts"])
    assert result["bytes"] == len(content)
    made = [Path(part["output"]).read_bytes() for part in result["parts"]]
    for part in made[:-1]:
        assert part.count(b"\n") == size and part.endswith(b"\n") if by_lines else len(part) == size
    assert b"".join(made) == content
    if made:
        names = [part["output"] for part in result["parts"]]
        assert io("merge", inputs=names, output=str(again))["bytes"] == len(content)
        assert again.read_bytes() == content


def test_merge_with_a_separator_into_one_of_the_inputs(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").write_text("two")
    result = io(
        "merge",
        inputs=[str(tmp_path / "a"), str(tmp_path / "b")],
        output=str(tmp_path / "a"),
        separator="\n",
    )
    assert result == {"output": str(tmp_path / "a"), "count": 2, "bytes": 7}
    assert (tmp_path / "a").read_text() == "one\ntwo"


def test_parts_of_a_split_that_was_cancelled_are_removed(tmp_path: Path) -> None:
    path, parts = tmp_path / "f", tmp_path / "parts"
    parts.mkdir()
    path.write_bytes(bytes(4 << 20))
    asked = iter([False, False, True])
    with pytest.raises(TaskCancelled):
        do(
            T.FILE_IO,
            {"operation": "split", "input": str(path), "output_dir": str(parts), "bytes": 1000_000},
            is_cancelled=lambda: next(asked),
        )
    assert list(parts.iterdir()) == []


def test_a_split_into_too_many_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_io, "MOST_PARTS", 3)
    (tmp_path / "f").write_bytes(bytes(4))
    parts = tmp_path / "parts"
    parts.mkdir()
    with pytest.raises(TaskDataError, match="more than 3 parts"):
        io("split", input=str(tmp_path / "f"), output_dir=str(parts), bytes=1)
    assert list(parts.iterdir()) == []


def test_a_failed_merge_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    (tmp_path / "out").write_text("old")
    inputs = [str(tmp_path / "a"), str(tmp_path / "absent")]
    with pytest.raises(TaskDataError, match="does not exist"):
        io("merge", inputs=inputs, output=str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_every_path_is_confined(tmp_path: Path) -> None:
    files = Files.within([str(tmp_path)])
    for payload in (
        {"operation": "hash", "input": "../x"},
        {"operation": "merge", "inputs": ["ok", "../x"], "output": "ok"},
        {"operation": "merge", "inputs": ["ok"], "output": "../x"},
        {"operation": "split", "input": "ok", "output_dir": "..", "lines": 1},
        {"operation": "parse", "input": "ok", "output": "../x"},
    ):
        assert "is outside of what the settings allow" in refusal(T.FILE_IO, payload, files)
    payload = {"operation": "merge", "inputs": ["ok", "../x"], "output": "ok"}
    assert refusal(T.FILE_IO, payload, files).startswith("payload.inputs[1] = '../x': expected")
