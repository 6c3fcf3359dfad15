"""A real browser, and what tests see in it."""

import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--remote-debugging-port=0", "--window-size=1000,1400"),
)


@dataclass
class Browser:
    """One tab of a headless Chromium, by its DevTools protocol."""

    link: Connection
    events: list[dict[str, Any]] = field(default_factory=list)
    sent: int = 0

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.sent += 1
        self.link.send(json.dumps({"id": self.sent, "method": method, "params": parameters}))
        while True:
            said = json.loads(self.link.recv(60))
            if said.get("id") == self.sent:
                assert "error" not in said, said
                result: dict[str, Any] = said["result"]
                return result
            self.events.append(said)

    def ask(self, expression: str) -> Any:
        """The value of an expression; of a promise, what it comes to."""
        done = self.do("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def open(self, url: str) -> None:
        self.do("Page.navigate", url=url)
        self.ask("new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))")

    def key(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            self.do("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)

    def complaints(self) -> list[dict[str, Any]]:
        """What the page's scripts said or threw."""
        said = [event for event in self.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]
        return [event for event in said if event["params"].get("entry", {}).get("source") != "network"]


@contextmanager
def chromium(profile: Path) -> Iterator[str]:
    """The address of a headless browser; the test is skipped where none is installed."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    command = [CHROMIUM, *QUIET, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            line = next(line for line in process.stderr if "DevTools listening on" in line)
            yield line.split("ws://")[1].split("/")[0]
        finally:
            process.kill()


@contextmanager
def tab(address: str) -> Iterator[Browser]:
    """A new, empty tab of the browser at `address`."""
    host, port = address.split(":")
    asked = http.client.HTTPConnection(host, int(port), timeout=30)
    asked.request("PUT", "/json/new?about:blank")
    told = json.loads(asked.getresponse().read())
    asked.close()
    with connect(told["webSocketDebuggerUrl"], max_size=None) as link:
        shown = Browser(link)
        for part in ("Page", "Runtime", "Log", "Network", "DOM"):
            shown.do(f"{part}.enable")
        yield shown
