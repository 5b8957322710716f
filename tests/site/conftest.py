"""The book, served from this machine, and a browser that looks at it."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

SITE = Path(__file__).parents[2] / "docs" / "_build" / "html"
PAGES = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html"))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Serves the book."""
    if not (SITE / "index.html").exists():
        pytest.fail(f"there is no book in {SITE}: run `nox -s docs` first")
    handler = functools.partial(_Quiet, directory=str(SITE))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Starts Chromium."""
    path = os.environ.get("BATISTE_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.fail("there is no Chromium: see the session docs-test of noxfile.py")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Opens a tab of a desktop's width; `goto` takes the names of pages."""
    context = browser.new_context(
        base_url=address, viewport={"width": 1280, "height": 900}
    )
    yield context.new_page()
    context.close()
