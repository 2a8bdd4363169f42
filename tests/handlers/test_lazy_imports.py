"""Nothing heavy is imported until a task needs it."""

from __future__ import annotations

import pytest

from .support import python

HEAVY = "{'polars', 'PIL', 'numpy', 'cryptography', 'pydantic', 'zstandard'}"
IMPORTED = f"import sys; print(sorted({HEAVY} & set(sys.modules)))"


@pytest.mark.parametrize(
    "code",
    [
        "import celery_workerpool",
        "import celery_workerpool.handlers",
        "from celery_workerpool.handlers import handler, load; load([])",
        "from celery_workerpool.handlers import TaskContext, Files; TaskContext()",
    ],
)
def test_importing_the_package_imports_no_optional_library(code: str) -> None:
    assert python(f"{code}; {IMPORTED}") == "[]"


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("DATA_PROCESSING", {"input": "data.csv", "operation": "filter", "where": "a > 1"}),
        ("IMAGE_MANIPULATION", {"image": "a.jpg", "operation": "thumbnail"}),
        ("COMPRESSION", {"input": "a", "algorithm": "zstd"}),
        ("ENCRYPTION", {"input": "a", "operation": "encrypt", "key": {"env": "KEY"}}),
        ("ANALYSIS", {"dataset": "large"}),
        ("COMPUTATION", {"computation": "primes", "limit": 10}),
        ("FILE_IO", {"operation": "hash", "input": "a"}),
        ("CUSTOM", {"name": "mine"}),
    ],
)
def test_validation_imports_pydantic_and_nothing_else(kind: str, payload: object) -> None:
    code = (
        "from celery_workerpool.handlers import validate, task_type\n"
        f"validate(task_type({kind!r}), {payload!r})\n{IMPORTED}"
    )
    assert python(code) == "['pydantic']"


def test_the_handlers_know_neither_celery_nor_the_pool() -> None:
    code = """
import sys, pkgutil, importlib
for name in ("celery", "kombu", "billiard"):
    sys.modules[name] = None
import types
package = types.ModuleType("celery_workerpool")
package.__path__ = ["celery_workerpool"]
sys.modules["celery_workerpool"] = package  # without what the package itself imports
import celery_workerpool.handlers as handlers
for module in pkgutil.iter_modules(handlers.__path__):
    importlib.import_module(f"celery_workerpool.handlers.{module.name}")
print(sorted(n for n in sys.modules if n.startswith(("celery_workerpool.engine",
    "celery_workerpool.process", "celery_workerpool.adapter", "celery_workerpool.policy"))))
"""
    assert python(code) == "[]"


@pytest.mark.parametrize(
    ("module", "kind", "payload", "message"),
    [
        ("polars", "DATA_PROCESSING", {"input": "a.csv"}, "polars,celery_workerpool[data]"),
        (
            "PIL",
            "IMAGE_MANIPULATION",
            {"image": "a.jpg", "operation": "thumbnail"},
            "Pillow,celery_workerpool[images]",
        ),
        (
            "zstandard",
            "COMPRESSION",
            {"data": "a", "algorithm": "zstd"},
            "zstandard,celery_workerpool[zstd]",
        ),
        (
            "cryptography",
            "ENCRYPTION",
            {"data": "a", "operation": "encrypt", "key": {"env": "K"}},
            "cryptography,celery_workerpool[encryption]",
        ),
        ("numpy", "ANALYSIS", {"data": [1]}, "numpy,celery_workerpool[analysis]"),
        ("numpy", "COMPUTATION", {"computation": "primes", "limit": 1}, "numpy,"),
        ("pydantic", "FILE_IO", {"operation": "hash", "input": "a"}, "pydantic,"),
    ],
)
def test_a_missing_library_is_said_before_anything_is_sent(
    module: str, kind: str, payload: object, message: str
) -> None:
    code = f"""
import importlib.machinery, sys
original = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = classmethod(
    lambda cls, name, path=None, target=None:
        None if name.partition(".")[0] == {module!r} else original(name, path, target))
from celery_workerpool.errors import InvalidTaskError
from celery_workerpool.handlers import task_type, validate
try:
    validate(task_type({kind!r}), {payload!r})
except InvalidTaskError as exc:
    print(exc)
"""
    library, _, extra = message.partition(",")
    said = python(code)
    assert said.startswith(f"{kind} needs {library}, which is not installed: pip install ")
    assert extra in said


def test_what_needs_no_library_runs_without_it() -> None:
    code = """
import sys
sys.modules["polars"] = sys.modules["numpy"] = None
from celery_workerpool.handlers import TaskContext, run, task_type
rows = [{"id": 1, "value": 0.5}]
print(run(task_type("DATA_PROCESSING"), {"data": rows}, TaskContext())["data"] == rows)
"""
    assert python(code) == "True"
