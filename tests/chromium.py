"""Debian's Chromium, without a window, and what it asked for and complained about."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = """
--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking
--no-first-run --disable-component-update --disable-sync
""".split()


@contextmanager
def chromium(profile: Path, width: int = 1280, height: int = 900) -> Iterator[Any]:
    """Start the browser with a profile of its own; skip the test where there is none."""
    if not BROWSER or not DRIVER:
        pytest.skip("needs chromium and chromedriver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        if width < 600:  # a window cannot be as narrow as a phone
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.set_script_timeout(300)  # axe, on a busy machine
        yield driver
    finally:
        driver.quit()


def requested_hosts(driver: Any) -> set[str]:
    """Give the hosts that the pages asked for anything since the last call."""
    hosts = set()
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            parameters = message["params"]
            url = urlsplit(parameters.get("request", parameters)["url"])
            if url.scheme not in ("data", "blob", "file", "chrome"):
                hosts.add(url.hostname or url.scheme)
    return hosts


def complaints(driver: Any) -> list[str]:
    """Give what the console said since the last call."""
    return [entry["message"] for entry in driver.get_log("browser")]


def axe_faults(driver: Any, *impacts: str) -> list[str]:
    """Run axe-core and give its faults of these impacts."""
    from axe_selenium_python import Axe

    axe = Axe(driver)
    axe.inject()
    return [
        f"{fault['id']} ({fault['impact']}): {node['html'][:160]}"
        for fault in axe.run()["violations"]
        if fault["impact"] in impacts
        for node in fault["nodes"]
    ]
