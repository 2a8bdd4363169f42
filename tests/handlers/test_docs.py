"""The pages of the task types say what the models and the results are."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from kombu.utils.json import dumps, loads
from PIL import Image
from pydantic import TypeAdapter

from celery_workerpool import WorkerTaskType as T
from celery_workerpool.handlers import validate
from tools import task_docs

from .support import do

KEY = {"env": "DOCS_KEY"}
ROWS = [{"a": 1, "b": 2.5}, {"a": 2, "b": 3.0}, {"a": 3, "b": 1.0}]
#: At least one payload of every model; FOLDER stands for a folder with a few files.
SAMPLES: dict[T, list[dict[str, Any]]] = {
    T.DATA_PROCESSING: [
        {"data": ROWS, "iteration": 1},
        {"data": ROWS, "operation": "filter", "where": "a > 1"},
        {"data": ROWS, "operation": "map", "set": {"c": "a * b"}},
        {"data": ROWS, "operation": "sort", "by": ["b"]},
        {"data": ROWS, "operation": "group", "by": ["a"]},
        {"data": ROWS, "operation": "aggregate", "aggregations": {"n": "count()"}},
        {"data": ROWS, "operation": "pipeline", "steps": [{"operation": "sort", "by": ["a"]}]},
        {"data": ROWS, "output": "FOLDER/rows.parquet"},
    ],
    T.IMAGE_MANIPULATION: [
        {"image": "FOLDER/i.png", "operation": "resize", "width": 5},
        {"image": "FOLDER/i.png", "operation": "thumbnail", "output": "FOLDER/t.jpg"},
        {"image": "FOLDER/i.png", "operation": "crop", "width": 2, "height": 2},
        {"image": "FOLDER/i.png", "operation": "rotate", "angle": 10},
        {"image": "FOLDER/i.png", "operation": "convert", "format": "webp"},
        {"image": "FOLDER/i.png", "operation": "filter", "filter": "blur"},
    ],
    T.COMPRESSION: [
        {"data": b"x"},
        {"data": b"", "output": "FOLDER/empty.gz"},
        {"data": b"", "operation": "decompress"},
    ],
    T.ENCRYPTION: [
        {"data": b"x", "operation": "encrypt", "key": KEY},
        {"input": "FOLDER/sealed", "operation": "decrypt", "key": KEY, "output": "FOLDER/opened"},
    ],
    T.ANALYSIS: [
        {"data": ROWS},
        {"data": [1], "complex_analysis": True},
        {"data": ROWS, "complex_analysis": True},
        {"data": ROWS, "type": "correlation"},
        {"data": ROWS, "type": "histogram"},
        {"type": "aggregate"},
    ],
    T.COMPUTATION: [
        {"computation": "matrix_product", "size": 3},
        {"computation": "matrix_product", "a": [[1, 2]], "b": [[1], [2]]},
        {"computation": "matrix_product", "a": [[1]], "b": [[1, 2]]},
        {"computation": "monte_carlo", "samples": 10},
        {"computation": "primes", "limit": 1},
        {"computation": "primes", "limit": 100},
        {"computation": "merge_results"},
    ],
    T.FILE_IO: [
        {"operation": "hash", "input": "FOLDER/t.csv"},
        {"operation": "count", "input": "FOLDER/t.csv"},
        {"operation": "parse", "input": "FOLDER/t.csv", "format": "csv"},
        {"operation": "parse", "input": "FOLDER/t.csv", "output": "FOLDER/t.jsonl"},
        {"operation": "split", "input": "FOLDER/t.csv", "output_dir": "FOLDER", "lines": 1},
        {"operation": "merge", "inputs": ["FOLDER/t.csv"], "output": "FOLDER/m.csv"},
    ],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCS_KEY", "A" * 43 + "=")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    Image.new("RGB", (9, 9)).save(tmp_path / "i.png")
    sealed = {"data": b"x", "operation": "encrypt", "key": KEY, "output": str(tmp_path / "sealed")}
    do(T.ENCRYPTION, sealed)
    return tmp_path


@pytest.mark.parametrize("kind", T)
def test_the_tables_are_those_of_the_models(kind: T) -> None:
    """If this fails: ``python -m tools.task_docs``."""
    text = task_docs.page(kind).read_text()
    assert task_docs.MARKER in text
    assert text == task_docs.renewed(kind, text)


@pytest.mark.parametrize("kind", T)
def test_every_field_is_explained(kind: T) -> None:
    for line in task_docs.page(kind).read_text().partition(task_docs.MARKER)[2].splitlines():
        if line.startswith("| `"):
            assert not line.endswith("|  |"), line


@pytest.mark.parametrize(
    ("kind", "payload"), [(kind, payload) for kind, all_ in SAMPLES.items() for payload in all_]
)
def test_results_are_what_the_pages_say(folder: Path, kind: T, payload: dict[str, Any]) -> None:
    payload = _in(folder, payload)
    record = validate(kind, payload).RESULT
    result = do(kind, payload)
    TypeAdapter(record).validate_python(result, strict=True)
    assert set(result) <= record.__optional_keys__ | record.__required_keys__
    # It takes the way to the submitter unharmed.
    assert loads(dumps(result)) == result


def test_there_is_a_sample_of_every_model() -> None:
    for kind, payloads in SAMPLES.items():
        module = importlib.import_module(f"celery_workerpool.handlers.{kind.value.lower()}")
        assert {type(validate(kind, payload)) for payload in payloads} == set(module.MODELS)


@pytest.mark.parametrize("page", sorted(task_docs.PAGES.glob("*.md")), ids=lambda page: page.name)
def test_payloads_in_the_pages_are_taken(page: Path) -> None:
    if page.name == "README.md":
        return
    kind = T(page.stem.replace("-", "_").upper())
    names = {"ids": ["a", "b"]}
    found = 0
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        if not block.startswith("{"):
            continue
        for payload in re.split(r"\n(?=\{)", block):
            validate(kind, eval(payload, names), modules=["shop.jobs"])
            found += 1
    assert found


def test_the_example_of_a_handler_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from celery_workerpool.handlers import registry

    monkeypatch.setattr(registry, "_handlers", {})
    monkeypatch.setattr(registry, "_functions", {})
    text = (task_docs.PAGES / "README.md").read_text().partition("## Handlers of your own")[2]
    code = text.partition("```python\n")[2].partition("```")[0]
    scope: dict[str, Any] = {}
    exec(code, scope)
    assert do(T.CUSTOM, {"items": [1, 2]}) == {"total": 3}
    assert scope["double"](4) == 8


def _in(folder: Path, payload: dict[str, Any]) -> dict[str, Any]:
    def placed(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("FOLDER", str(folder))
        return [placed(item) for item in value] if isinstance(value, list) else value

    return {name: placed(value) for name, value in payload.items()}
