"""The configuration that is offered to start from."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery
from celery.app.defaults import NAMESPACES, flatten

from celery_workerpool import WorkerPool
from celery_workerpool.settings import PREFIX, Settings

CONFIG = Path(__file__).parents[2] / "config"
SETTING = re.compile(r"^(?:# )?([a-z][a-z_]+) = (.+?)(?:  #.*)?$", re.MULTILINE)


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    """An app with the configuration as it is."""
    monkeypatch.syspath_prepend(str(CONFIG))
    monkeypatch.delitem(sys.modules, "celeryconfig", raising=False)
    app = Celery("config-test", set_as_current=False)
    app.config_from_object("celeryconfig")
    return app


def known() -> set[str]:
    return {name for name, _ in flatten(NAMESPACES)}


def offered() -> list[tuple[str, object]]:
    """Every setting in the file, also those that are only shown."""
    text = (CONFIG / "celeryconfig.py").read_text()
    return [(name, eval(value)) for name, value in SETTING.findall(text)]


def test_it_offers_settings() -> None:
    names = [name for name, _ in offered()]
    assert "worker_pool" in names
    assert "workerpool_terminate_grace" in names  # one that is only shown
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("name", "value"), offered())
def test_every_setting_exists_and_its_value_is_allowed(name: str, value: object) -> None:
    if name.startswith(PREFIX):
        Settings.from_mapping({name: value})
    else:
        assert name in known()


def test_an_app_takes_it(app: Celery) -> None:
    assert app.conf.worker_pool == "celery_workerpool:WorkerPool"
    assert app.conf.task_time_limit > app.conf.task_soft_time_limit
    settings = WorkerPool(2, app=app).settings
    assert settings == Settings(memory_kill_ratio=1.5)


def test_the_sample_app_has_its_tasks() -> None:
    program = "import sample; print(*sorted(n for n in sample.app.tasks if n[:7] == 'sample.'))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=CONFIG,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["sample.add", "sample.fill", "sample.wait"]
