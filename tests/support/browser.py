"""A headless Chromium: found, or installed with apt-get where that is possible."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.services import ServiceUnavailable, install

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1600",
)


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A selenium driver.

    Arguments:
        profile: a fresh directory for the browser's own data.

    Raises:
        ServiceUnavailable: there is no Chromium and none can be installed.
    """
    from selenium import webdriver

    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        install("chromium", "chromium-driver")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        raise ServiceUnavailable("there is no chromium with chromedriver on PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()
