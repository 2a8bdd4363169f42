"""What is wrong with a payload is said in one line, before anything is sent."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from celery_workerpool import WorkerTaskType as T
from celery_workerpool.errors import InvalidTaskError, MissingLibraryError
from celery_workerpool.handlers import summarise, task_type, validate
from celery_workerpool.handlers.registry import Handler, _handlers

from .support import refusal

REFUSALS: list[tuple[T, Any, str]] = [
    (T.DATA_PROCESSING, [1, 2], "payload = [1, 2]: expected an object with named fields"),
    (T.DATA_PROCESSING, None, "payload = None: expected an object with named fields"),
    (T.DATA_PROCESSING, {}, "payload = {}: expected either data or input"),
    (
        T.DATA_PROCESSING,
        {"data": [1], "input": "a.csv"},
        "payload = {data, input}: expected either data or input",
    ),
    (
        T.DATA_PROCESSING,
        {"data": [1], "operation": "filtr", "where": "value > 1"},
        "payload.operation = 'filtr': expected one of collect, filter, map, sort, group, "
        "aggregate, pipeline; did you mean filter?",
    ),
    (
        T.DATA_PROCESSING,
        {"data": [1], "operation": 5},
        "payload.operation = 5: expected one of collect, filter, map, sort, group, aggregate, "
        "pipeline",
    ),
    (
        T.DATA_PROCESSING,
        {"data": [1], "operation": "filter"},
        "payload.where = nothing: expected this field, which has no default",
    ),
    (
        T.DATA_PROCESSING,
        {"data": [1, {"a": 2}]},
        "payload.data = [1, {'a': 2}]: expected a list of numbers and texts, or a list of "
        "records, not of dict, int",
    ),
    (
        T.DATA_PROCESSING,
        {"input": "data.xls"},
        "payload.input = 'data.xls': expected a name whose ending tells the format, or a format "
        "beside it",
    ),
    (
        T.DATA_PROCESSING,
        {"data": [1], "output": "rows.xls"},
        "payload.output = 'rows.xls': expected a file that ends in .csv, .tsv, .json, .jsonl, "
        ".ndjson, .parquet, .pq, or a format beside it",
    ),
    (
        T.DATA_PROCESSING,
        {"data": [1], "limit": "many"},
        "payload.limit = 'many': expected a valid integer, unable to parse string as an integer",
    ),
    (
        T.DATA_PROCESSING,
        {
            "data": [1],
            "operation": "pipeline",
            "steps": [
                {"operation": "sort", "by": ["a"]},
                {"operation": "sort", "by": ["a"], "descnding": True},
            ],
        },
        "payload.steps[1].descnding = True: expected one of operation, by, descending; "
        "did you mean descending?",
    ),
    (
        T.DATA_PROCESSING,
        {"data": [1], "operation": "pipeline", "steps": [{"operation": "srt"}]},
        "payload.steps[0].operation = 'srt': expected one of filter, map, sort, group, "
        "aggregate; did you mean sort?",
    ),
    (
        T.DATA_PROCESSING,
        {"data": [1], "operation": "map"},
        "payload = {data, operation}: expected set, select or both for a map",
    ),
    (
        T.IMAGE_MANIPULATION,
        {"image": "a.jpg"},
        "payload.operation = nothing: expected one of resize, thumbnail, crop, rotate, convert, "
        "filter",
    ),
    (
        T.IMAGE_MANIPULATION,
        {"image": "a.jpg", "operation": "resize", "wdith": 800, "height": 600},
        "payload.wdith = 800: expected one of image, output, format, quality, max_pixels, "
        "operation, width, height, fit; did you mean width?",
    ),
    (
        T.IMAGE_MANIPULATION,
        {"image": "a.jpg", "operation": "resize", "width": -3},
        "payload.width = -3: expected a number greater than or equal to 1",
    ),
    (
        T.IMAGE_MANIPULATION,
        {"image": "a.jpg", "operation": "resize", "width": 30000, "height": 30000},
        "payload.width = 30000: expected at most 100000000 pixels in all (max_pixels)",
    ),
    (
        T.IMAGE_MANIPULATION,
        {"image": "a.jpg", "operation": "thumbnail", "output": "small.xyz"},
        "payload.output = 'small.xyz': expected a name that ends in .jpg, .jpeg, .png, .webp, "
        ".gif, .bmp, .tif, .tiff, or a format beside it",
    ),
    (
        T.COMPRESSION,
        {"data": "x", "algorithm": "zip"},
        "payload.algorithm = 'zip': expected 'gzip', 'bz2', 'lzma' or 'zstd'",
    ),
    (
        T.COMPRESSION,
        {"data": "x", "algorithm": "bz2", "level": 0},
        "payload.level = 0: expected a number from 1 to 9 for bz2",
    ),
    (
        T.COMPRESSION,
        {"data": "x", "maxBytes": 0},
        "payload.max_bytes = 0: expected a number greater than or equal to 1",
    ),
    (
        T.ENCRYPTION,
        {"data": "x", "operation": "encrypt"},
        "payload.key = nothing: expected this field, which has no default",
    ),
    (
        T.ANALYSIS,
        {"analysisType": "statistic"},
        "payload.analysisType = 'statistic': expected one of statistical, correlation, "
        "histogram, aggregate; did you mean statistical?",
    ),
    (
        T.ANALYSIS,
        {"dataset": "huge"},
        "payload.dataset = 'huge': expected 'small', 'medium' or 'large'",
    ),
    (
        T.COMPUTATION,
        {"computation": "merge"},
        "payload.computation = 'merge': expected one of matrix_product, monte_carlo, primes, "
        "merge_results",
    ),
    (
        T.COMPUTATION,
        {"computation": "matrix_product", "a": [[1, 2]], "b": [[1, 2]]},
        "payload.b = [[1, 2]]: expected 2 rows, as many as a has columns",
    ),
    (
        T.COMPUTATION,
        {"computation": "matrix_product", "a": [[1, 2], [3]], "b": [[1], [2]]},
        "payload.a = [[1, 2], [3]]: expected rows of one length, and none that is empty",
    ),
    (
        T.FILE_IO,
        {"operation": "hash", "input": "a", "algorithm": "crc32"},
        "payload.algorithm = 'crc32': expected 'sha256', 'sha512', 'sha1', 'md5', 'blake2b' or "
        "'sha3_256'",
    ),
    (
        T.FILE_IO,
        {"operation": "hash", "input": b"a"},
        "payload.input = <1 bytes>: expected a path, not bytes",
    ),
    (
        T.FILE_IO,
        {"operation": "hash", "input": "a\0b"},
        "payload.input = 'a\\x00b': expected a path that may be used: 'a\\x00b' is no path of a "
        "file",
    ),
    (
        T.FILE_IO,
        {"operation": "split", "input": "a", "output_dir": "b"},
        "payload = {operation, input, output_dir}: expected either lines or bytes for a split",
    ),
    (
        T.FILE_IO,
        {"operation": "parse", "input": "a", "encoding": "klingon"},
        "payload.encoding = 'klingon': expected the name of a text encoding, such as utf-8",
    ),
    (
        T.CUSTOM,
        {"function": "os.system", "args": ["true"]},
        "payload.function = 'os.system': expected a function of a module that the settings "
        "allow (none)",
    ),
    (
        T.CUSTOM,
        {},
        "payload = {}: expected either function or name (or register a handler of your own)",
    ),
]


@pytest.mark.parametrize(("kind", "payload", "message"), REFUSALS)
def test_refusals(kind: T, payload: Any, message: str) -> None:
    assert refusal(kind, payload) == message


def test_the_error_carries_its_parts_and_survives_pickling() -> None:
    with pytest.raises(InvalidTaskError) as caught:
        validate(T.FILE_IO, {"operation": "hash", "input": 5})
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) == "payload.input = 5: expected a valid string"
    assert again.option == "payload.input"
    missing = MissingLibraryError("ANALYSIS", "numpy", "analysis")
    assert str(pickle.loads(pickle.dumps(missing))) == str(missing)


def test_the_error_does_not_drag_the_payload_along() -> None:
    with pytest.raises(InvalidTaskError) as caught:
        validate(T.DATA_PROCESSING, {"data": list(range(100_000)), "limit": -1})
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_the_error_carries_plain_values_as_they_came() -> None:
    for value in (5, None, True, "wide", 0.5):
        with pytest.raises(InvalidTaskError) as caught:
            validate(T.COMPRESSION, {"data": "x", "algorithm": value})
        assert caught.value.value is value


def test_a_number_that_python_does_not_write_down() -> None:
    message = refusal(T.COMPRESSION, {"data": "x", "algorithm": 10**5000})
    assert message.startswith("payload.algorithm = <int>: expected 'gzip'")


def test_large_values_are_cut() -> None:
    message = refusal(T.DATA_PROCESSING, {"data": ["x" * 10_000] * 10_000 + [b"y"]})
    assert len(message) < 300


@pytest.mark.parametrize("spelling", ["max_bytes", "maxBytes"])
def test_both_spellings(spelling: str) -> None:
    assert validate(T.COMPRESSION, {"data": "x", spelling: 5}).max_bytes == 5


def test_task_types() -> None:
    assert task_type("FILE_IO") is task_type(T.FILE_IO) is T.FILE_IO
    with pytest.raises(InvalidTaskError, match="did you mean IMAGE_MANIPULATION"):
        task_type("image_manipulaton")
    with pytest.raises(InvalidTaskError, match="type = 5: expected one of DATA_PROCESSING, "):
        task_type(5)
    assert [kind.value for kind in T] == [kind.name for kind in T]


def test_a_model_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Order(BaseModel):
        model_config = ConfigDict(extra="forbid")
        amount: int

    entry = Handler(T.CUSTOM, lambda order, ctx: order.amount, Order)
    monkeypatch.setitem(_handlers, T.CUSTOM, entry)
    assert validate(T.CUSTOM, {"amount": 3}) == Order(amount=3)
    assert refusal(T.CUSTOM, {"amount": "x"}).startswith("payload.amount = 'x': expected a valid")
    assert (
        refusal(T.CUSTOM, {"amount": 1, "x": 2}) == "payload.x = 2: expected no field of that name"
    )


def test_summaries_show_options_and_no_content() -> None:
    payload = {"image": b"\xff\xd8", "data": "secret", "key": {"env": "K"}, "width": 80}
    assert summarise(payload) == (
        "{'image': <2 bytes>, 'data': <6 characters>, 'key': (hidden), 'width': 80}"
    )
    assert summarise({"image": "photo.jpg"}) == "{'image': 'photo.jpg'}"
    assert summarise([1, 2]) == "<2 items>"
    assert len(summarise({f"field{n}": "x" * 500 for n in range(100)})) <= 320
