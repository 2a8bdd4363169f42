"""Celery's tests: they come with the source distribution, not with the installed package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "conformance"

#: What the tests need. Celery's own code is left out: it would hide the installed package.
KEPT = ("t", "pyproject.toml")


class SourceUnavailable(Exception):
    """Celery's source distribution could not be had; the message says why."""


def source(cache: Path = CACHE) -> Path:
    """The folder with the tests of the installed Celery's version; fetched once.

    Raises:
        SourceUnavailable: the package index did not give it.
    """
    release = f"celery-{version('celery')}"
    folder = cache / release
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as name:
            unpacked = _unpack(_download(Path(name)), Path(name), release)
            try:
                os.rename(unpacked, folder)
            except OSError:
                if not folder.exists():  # Else another process was faster.
                    raise
    return folder


def _download(directory: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-binary", "celery", "--dest", str(directory)]
    done = subprocess.run(
        [*command, f"celery=={version('celery')}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    archives = list(directory.glob("*.tar.gz"))
    if done.returncode or not archives:
        last = done.stdout.strip().splitlines()[-1:] or ["pip said nothing"]
        raise SourceUnavailable(f"pip could not download celery {version('celery')}: {last[0]}")
    return archives[0]


def _unpack(archive: Path, directory: Path, release: str) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(directory, filter="data")
    whole, tests = directory / release, directory / "tests"
    tests.mkdir()
    for name in KEPT:
        shutil.move(whole / name, tests / name)
    return tests
