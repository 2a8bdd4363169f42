"""What the tests of the handlers share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from celery_workerpool import WorkerTaskType
from celery_workerpool.errors import InvalidTaskError
from celery_workerpool.handlers import Files, TaskContext, run, validate

ROOT = Path(__file__).resolve().parents[2]


def do(kind: WorkerTaskType, payload: dict[str, Any], **context: Any) -> Any:
    """Run a task as the worker does."""
    return run(kind, payload, TaskContext(**context))


def refusal(kind: WorkerTaskType, payload: Any, files: Files | None = None, **options: Any) -> str:
    """The message with which a payload is refused before anything is sent."""
    try:
        validate(kind, payload, files=files, **options)
    except InvalidTaskError as exc:
        message = str(exc)
        assert "\n" not in message
        return message
    raise AssertionError("the payload was accepted")


def python(code: str, *args: object, env: dict[str, str] | None = None) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, args)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
