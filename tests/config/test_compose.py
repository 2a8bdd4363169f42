"""``docker-compose.yml``: what ``tools/services.py`` and the sample rely on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools.services import RABBITMQ, REDIS, Service

ROOT = Path(__file__).parents[2]
yaml = pytest.importorskip("yaml")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
    "services"
]


@pytest.mark.parametrize("kind", [REDIS, RABBITMQ], ids=lambda kind: kind.name)
def test_the_servers_listen_where_tests_look_for_them(kind: Service) -> None:
    name, url = kind.compose
    port = url.rpartition(":")[2].partition("/")[0]
    assert SERVICES[name]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_every_service_can_be_waited_for() -> None:
    assert all("healthcheck" in service for service in SERVICES.values())


def test_no_port_is_open_to_others() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def test_a_warm_shutdown_has_the_time_it_may_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "config"))
    import celeryconfig  # type: ignore[import-not-found]

    worker = SERVICES["worker"]
    assert int(worker["stop_grace_period"].removesuffix("s")) > celeryconfig.task_time_limit
    assert worker["stop_signal"] == "SIGTERM"
    assert worker["init"] is True


def test_the_image_has_what_it_needs() -> None:
    build = SERVICES["worker"]["build"]
    copied = [
        word
        for line in (ROOT / build["dockerfile"]).read_text().splitlines()
        if line.startswith("COPY ")
        for word in line.split()[1:-1]
    ]
    kept = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    assert copied and sorted(copied) == sorted(kept)
    assert all((ROOT / name).exists() for name in copied)


def test_docker_compose_accepts_it() -> None:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("there is no docker compose")
    done = subprocess.run(
        [docker, "compose", "config", "--quiet"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
