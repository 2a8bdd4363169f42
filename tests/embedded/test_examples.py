"""The examples, run as a user runs them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from .place import ROOT, Place, Script

pytestmark = pytest.mark.acceptance

EXAMPLES = ROOT / "examples"


def run(place: Place, name: str, *args: str) -> Script:
    script = place.start_command(str(EXAMPLES / name), *args)
    assert script.wait() == 0, script.report()
    assert "Traceback" not in script.output, script.report()
    assert place.processes == {}
    return script


def test_each_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "asyncio_hashes.py",
        "complete.py",
        "custom.py",
        "custom_worker.py",
        "quickstart.py",
    }


def test_quickstart(place: Place) -> None:
    image = pytest.importorskip("PIL.Image")
    photo = place.folder / "photo.jpg"
    image.effect_noise((1600, 1000), 50).convert("RGB").save(photo)
    script = run(place, "quickstart.py", "photo.jpg")
    with image.open(place.folder / "photo-small.jpg") as small:
        assert small.size == (800, 500)
        assert small.format == "JPEG"
    assert re.fullmatch(r"completed: \S+", script.lines[0])
    assert script.lines[1].startswith("photo-small.jpg: 800 × 500, ")


@pytest.mark.parametrize("page", ["README.md", "docs/facade.md"])
def test_the_lines_that_the_pages_begin_with(place: Place, page: str) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (1600, 1000), "red").save(place.folder / "photo.jpg")
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE
    )
    code = next(block for block in blocks if "submit_task" in block)
    output = place.run(code)
    with image.open(place.folder / "small.jpg") as small:
        assert small.size == (800, 500)
    assert re.search(r"[0-9a-f-]{36}", output), "the listener's line, before or after the result"
    assert "'output': 'small.jpg'" in output


@pytest.mark.parametrize(
    ("name", "wanted"), [("quickstart.py", "PICTURE"), ("asyncio_hashes.py", "FILE…")]
)
def test_without_a_file(place: Place, name: str, wanted: str) -> None:
    script = place.start_command(str(EXAMPLES / name))
    assert script.wait() == 1
    assert script.output == f"usage: {name} {wanted}\n"


def test_complete(place: Place) -> None:
    pytest.importorskip("polars")
    pytest.importorskip("numpy")
    script = run(place, "complete.py")
    output = script.output
    assert "Submitted 20 tasks" in output
    for i in range(20):
        assert f"Task {i} processed 1000 items" in output
    assert len(re.findall(r"Task \S+ completed in ", output)) == 21
    assert "Current metrics: Metrics(total_workers=" in output
    assert re.search(r"^Aggregate result: {'tasks': 10, 'items': 10000, ", output, re.MULTILINE)
    assert "Total tasks: 21\nCompleted: 21\nFailed: 0\n" in output
    assert re.search(r"^Average duration: \d+ ms$", output, re.MULTILINE)
    assert re.search(r"^Throughput: \d+\.\d\d tasks/sec$", output, re.MULTILINE)
    assert "Worker manager shut down" in output


def test_asyncio(place: Place) -> None:
    files = []
    for number in range(5):
        file = Path(f"file{number}.bin")
        (place.folder / file).write_bytes(bytes([number]) * 100_000)
        files.append(str(file))
    script = run(place, "asyncio_hashes.py", *files)
    printed = [line for line in script.lines if not line.startswith("#") and ".bin" in line]
    assert printed == [
        f"{hashlib.sha256((place.folder / file).read_bytes()).hexdigest()} {file}" for file in files
    ]
    assert any(re.fullmatch(r"# done: file\d\.bin", line) for line in script.lines)


def test_custom(place: Place) -> None:
    script = run(place, "custom.py")
    assert script.lines[:2] == ["first True", "second True"]
    assert script.lines[2].startswith("refused: payload.data = 'not a list': expected")
