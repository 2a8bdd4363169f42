"""Flower in a real browser: what its pages say of the pool, and what its buttons do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import states

from tests.support.browser import chromium
from tests.support.flower import flower
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker
from tools.services import ServiceUnavailable, required

pytestmark = pytest.mark.timeout(300)  # The browser may have to be installed first.

#: A directory for screenshots, for whoever wants to look.
SCREENSHOTS = os.environ.get("WORKERPOOL_TEST_SCREENSHOTS")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    try:
        with chromium(tmp_path / "profile") as browser:
            yield browser
    except ServiceUnavailable as exc:
        if required():
            raise
        pytest.skip(str(exc))


class Page:
    """A page of Flower."""

    def __init__(self, browser: Any, url: str) -> None:
        self._browser = browser
        self._url = url

    def open(self, path: str) -> None:
        self._browser.get(f"{self._url}/{path}")

    def press(self, button: str) -> str:
        """Press a button, by its id; what Flower says then."""
        before = len(self._toasts())
        element = self._browser.find_element("id", button)
        self._browser.execute_script("arguments[0].click()", element)
        return str(wait_until(lambda: self._toasts()[before:], f"an answer to {button}")[0])

    def fill(self, field: str, value: object) -> None:
        element = self._browser.find_element("id", field)
        element.clear()
        element.send_keys(str(value))

    def table(self, pane: str) -> dict[str, str]:
        """The two-column table in a pane: name and value."""
        rows = self._browser.find_elements("css selector", f"#{pane} tr")
        cells = [[c.text for c in row.find_elements("tag name", "td")] for row in rows]
        return {name: value for name, value, *_ in (c for c in cells if len(c) >= 2)}

    def screenshot(self, name: str) -> None:
        if SCREENSHOTS:
            self._browser.save_screenshot(f"{SCREENSHOTS}/flower-{name}.png")

    def _toasts(self) -> list[str]:
        found = self._browser.find_elements("css selector", ".toast")
        return [toast.get_attribute("textContent").strip() for toast in found]


def test_the_worker_page_shows_the_pool_and_its_buttons_work(
    browser: Any, redis_url: str, tmp_path: Path
) -> None:
    trace = Trace(tmp_path)
    worker = CeleryWorker(
        redis_url, redis_url, tmp_path, conf={"worker_pool_restarts": True}, concurrency=2
    )
    with worker, flower(worker, tmp_path) as url:
        running = worker.send("trace_and_wait", trace.path, "run", trace.gate)
        trace.wait_for("run")
        page = Page(browser, url)
        worker.wait_for_children(2)
        shown = wait_until(lambda: refreshed(page, worker.hostname), "Flower has asked again")
        page.screenshot("pool")
        assert shown["Max concurrency"] == "2"
        assert shown["Waiting"] == "0"
        assert (shown["Children ended"], shown["Given back"]) == ("", "0")
        children = sorted([shown["Child 1"], shown["Child 2"]])
        assert re.match(r"BUSY, tests\.support\.tasks\.trace_and_wait\[\S+\] for ", children[0])
        assert re.search(r", pid \d+, [\d.]+ MiB resident, 0 tasks done, \d+ s old$", children[0])
        assert children[1].startswith("IDLE, pid ")
        before = worker.wait_for_children(2)

        assert page.press("worker-pool-grow").startswith("Growing")
        worker.wait_for_children(3)
        assert page.press("worker-pool-shrink").startswith("Shrinking")
        worker.wait_for_children(2)
        page.screenshot("shrunk")

        page.press("worker-pool-restart")
        wait_until(lambda: len(set(worker.children()) - set(before)) >= 1, "an idle child is new")
        trace.open_gate()
        assert running.get(timeout=30) == "run"
        wait_until(
            lambda: len(now := worker.children()) == 2 and not set(now) & set(before),
            "every child is new",
        )
        ended = wait_until(lambda: _ended(page, worker.hostname), "Flower knows of three that left")
        page.screenshot("ended")
        assert ended == "2 recycled (restart), 1 surplus"


def refreshed(page: Page, hostname: str) -> dict[str, str]:
    """The pool as the page shows it once it knows of the running task; empty before."""
    shown = _asked_again(page, hostname)
    return shown if shown.get("Running") == "1" else {}


def _ended(page: Page, hostname: str) -> str:
    """The children that have ended, once it knows of a restart; empty before."""
    ended = _asked_again(page, hostname).get("Children ended", "")
    return ended if "2 recycled" in ended else ""


def _asked_again(page: Page, hostname: str) -> dict[str, str]:
    """The pool as the page shows it.

    Pressing Refresh has Flower ask the worker again; the answer may come after the next page.
    """
    page.open(f"worker/{hostname}")
    page.press("worker-refresh")
    page.open(f"worker/{hostname}")
    return page.table("tab-pool")


def test_the_autoscale_range_is_applied(browser: Any, redis_url: str, tmp_path: Path) -> None:
    worker = CeleryWorker(redis_url, redis_url, tmp_path, options=["--autoscale=3,1"])
    with worker, flower(worker, tmp_path) as url:
        page = Page(browser, url)
        page.open(f"worker/{worker.hostname}")
        page.fill("min-autoscale", 2)
        page.fill("max-autoscale", 5)
        said = page.press("worker-pool-autoscale")
        page.screenshot("autoscale")
        assert said.startswith("Autoscaling")
        worker.wait_for_children(2)
        assert worker.stats()["autoscaler"]["max"] == 5


def test_the_task_page_revokes_and_terminates(browser: Any, redis_url: str, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    worker = CeleryWorker(redis_url, redis_url, tmp_path, options=["-E"], concurrency=1)
    with worker, flower(worker, tmp_path) as url:
        running = worker.send("trace_and_wait", trace.path, "run", trace.gate)
        trace.wait_for("run")
        waiting = worker.send("append", trace.path, "never")
        page = Page(browser, url)
        wait_until(lambda: _has_button(page, browser, waiting.id, "task-revoke"), "Revoke")
        page.press("task-revoke")
        wait_until(lambda: waiting.id in worker.inspect("revoked"), "the worker knows it")
        wait_until(lambda: _has_button(page, browser, running.id, "task-terminate"), "Terminate")
        page.screenshot("task")
        page.press("task-terminate")
        wait_until(running.ready, "the running task has ended")
        assert running.state == states.REVOKED
        wait_until(waiting.ready, "the waiting task has ended")
        assert waiting.state == states.REVOKED
        assert worker.send("add", 1, 2).get(timeout=30) == 3
        assert trace.lines() == ["run"]


def _has_button(page: Page, browser: Any, task_id: str, button: str) -> bool:
    page.open(f"task/{task_id}")
    return bool(browser.find_elements("id", button))
