"""A page that is being served, as its command serves it, and a browser on it."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@contextmanager
def served(command: str, *arguments: str) -> Iterator[str]:
    """Start a command that serves a page; give its address. It must ask nobody for anything."""
    with socket.create_server(("127.0.0.1", 0)) as outside:
        outside.setblocking(False)
        proxy = f"http://127.0.0.1:{outside.getsockname()[1]}"
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        here = {"no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}
        process = subprocess.Popen(
            [sys.executable, "-m", command, *arguments, "--port", port],
            cwd=ROOT,
            env={**os.environ, **dict.fromkeys(names, proxy), **here},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            line = process.stdout.readline()  # type: ignore[union-attr]
            said = re.fullmatch(r"(http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n", line)
            assert said, line + process.stdout.read()  # type: ignore[union-attr]
            yield said[1]
        finally:
            process.kill()
            process.wait(timeout=60)
        try:
            connection, _ = outside.accept()
        except BlockingIOError:
            return
        raise AssertionError(f"the server asked for {connection.recv(200)!r}")


def wait_for(driver: Any, look: Any) -> Any:
    """Wait until `look(driver)` is something, and give it."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    waiting = WebDriverWait(driver, 120, 0.05, (StaleElementReferenceException,))
    return waiting.until(look)


def text_of(driver: Any, selector: str) -> str:
    """Give the text of the first element that a CSS selector finds; empty where there is none."""
    from selenium.webdriver.common.by import By

    found = driver.find_elements(By.CSS_SELECTOR, selector)
    return found[0].text if found else ""


def labelled(driver: Any, label: str) -> Any:
    """Give the text field with a label, as a screen reader finds it."""
    from selenium.webdriver.common.by import By

    path = f"//label[normalize-space(.//span)='{label}']//*[self::input or self::textarea]"
    return wait_for(driver, lambda d: d.find_element(By.XPATH, path))


def button(driver: Any, name: str) -> Any:
    """Give the button of a name."""
    from selenium.webdriver.common.by import By

    return driver.find_element(By.XPATH, f"//button[normalize-space()='{name}']")


def tab_to(driver: Any, wanted: Any) -> None:
    """Press Tab until an element has the focus."""
    from selenium.webdriver.common.keys import Keys

    for _ in range(80):
        if driver.switch_to.active_element == wanted:
            return
        driver.switch_to.active_element.send_keys(Keys.TAB)
    raise AssertionError("Tab never comes to it")
