"""The page of `read --serve`, as a browser shows it and as others would misuse it."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from fastapi.testclient import TestClient

from flows import read_page
from flows.read import Index, Means
from forgeline.image import write_image
from tests.browser import Browser, chromium, tab
from watermark.keys import DEMO, master
from watermark.payload import Mark
from watermark.strength import Marker

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Page:
    port: int
    folder: Path

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        """Send a file as the page would, but for `headers`; an empty one is left out."""
        own = {"Host": f"127.0.0.1:{self.port}", "Origin": f"http://127.0.0.1:{self.port}", "Content-Length": str(len(body))}
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        link.putrequest("POST", "/read", skip_host=True)
        for name, value in (own | (headers or {})).items():
            if value:
                link.putheader(name, value)
        link.endheaders(body)
        answer = link.getresponse()
        told = answer.status, json.loads(answer.read())
        link.close()
        return told


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(5)
    scene = cv2.resize(rng.uniform(40, 210, (12, 15, 3)), (512, 512), interpolation=cv2.INTER_CUBIC)
    plain = np.clip(scene + rng.normal(0, 6, (512, 512, 1)), 0, 255).astype(np.uint8)
    marked = Marker(master(DEMO).shard("val-0000"), Mark(0xAB12CD34EF, 64))(plain)
    write_image(folder / "marked.png", marked)
    write_image(folder / "plain.png", plain)
    (folder / "broken.png").write_bytes((folder / "marked.png").read_bytes()[:20000])
    (folder / "<img src=x onerror=alert(1)>.txt").write_text("no media")
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page, served from a folder that is no checkout, with its temporary files where they can be seen."""
    folder = tmp_path_factory.mktemp("served")
    env = {k: v for k, v in os.environ.items() if not k.startswith("FORGELINE_")}
    env |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "flows", "read", "--serve", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            said = server.stdout.readline()
            assert "http://127.0.0.1:" in said
            yield Page(int(said.split("http://127.0.0.1:")[1].split(";")[0]), folder)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
    assert not list(folder.iterdir())  # it cleans up after itself


def test_a_file_is_read_and_not_kept(page: Page, files: Path) -> None:
    status, told = page.post((files / "marked.png").read_bytes())
    assert status == 200
    assert told["report"]["marked"]
    assert told["report"]["marks"][0]["id"] == "ab12cd34ef"
    assert told["picture"].startswith("data:image/jpeg;base64,")
    assert [path.name for path in page.folder.rglob("*") if path.is_file()] == []
    assert str(page.folder) not in json.dumps(told)


@pytest.mark.parametrize(
    ("headers", "status", "what"),
    [
        ({"Host": "evil.example"}, 421, "alone"),
        ({"Host": "127.0.0.1"}, 421, "alone"),
        ({"Origin": "https://evil.example"}, 403, "only the page itself"),
        ({"Origin": "null"}, 403, "only the page itself"),
        ({"Origin": ""}, 403, "only the page itself"),
        ({"Content-Length": "", "Transfer-Encoding": "chunked"}, 411, "length"),
        ({"Content-Length": str(2 << 30)}, 413, "larger than 1024 MiB"),
    ],
)
def test_what_the_page_would_not_send_is_refused(page: Page, headers: dict[str, str], status: int, what: str) -> None:
    found, told = page.post(b"", headers)
    assert found == status
    assert what in told["error"]


def test_reading_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").mkdir()
    # Large, and searched with a key: a second and a half of work, where the limit is looked at every tenth of one.
    write_image(tmp_path / "large.png", np.full((4096, 4096, 3), 90, np.uint8))
    means = Means((master(DEMO).shard("val-0000"),), "")
    app = read_page.page(Index(), means, tmp_path / "kept", 4300, most_s=0.05)
    client = TestClient(app, "http://127.0.0.1:4300")
    answer = client.post("/read", content=(tmp_path / "large.png").read_bytes(), headers={"Origin": "http://127.0.0.1:4300"})
    assert answer.status_code == 422
    assert "not read within 0.05 s" in answer.json()["error"]
    assert not list((tmp_path / "kept").iterdir())
    assert not readers(psutil.Process())


def readers(parent: psutil.Process) -> list[psutil.Process]:
    """The processes that read a file for `parent` now: those that its fork server has forked."""
    found = []
    for child in parent.children():
        with suppress(psutil.Error):  # it has ended meanwhile
            if "forkserver" in " ".join(child.cmdline()):
                found += child.children()
    return found


def test_a_file_that_ends_its_reader_costs_itself_alone(page: Page, files: Path) -> None:
    (server,) = (child for child in psutil.Process().children() if "--serve" in child.cmdline())
    with ThreadPoolExecutor(1) as other:
        sent = other.submit(page.post, (files / "plain.png").read_bytes())
        while not (found := readers(server)):
            assert not sent.done()
        found[0].kill()
        status, told = sent.result()
    assert status == 422
    assert "ended the process that read it" in told["error"]
    assert page.post((files / "marked.png").read_bytes())[1]["report"]["marked"]


# In a browser --------------------------------------------------------------------------------------------------------


def newest(browser: Browser) -> dict[str, Any]:
    """The newest result, once it is there."""
    settled = "document.querySelector('article') && !document.querySelector('[aria-busy]')"
    watch = f"""new Promise(done => {{
        const look = () => {{ if ({settled}) {{ watcher.disconnect(); done(); }} }};
        const watcher = new MutationObserver(look);
        watcher.observe(document.body, {{subtree: true, childList: true, attributes: true}});
        look();
    }})"""
    browser.ask(watch)
    told: dict[str, Any] = browser.ask(
        """(sheet => ({
            kind: sheet.className, name: sheet.querySelector("h2").textContent,
            verdict: sheet.querySelector(".verdict").textContent,
            facts: [...sheet.querySelectorAll("li")].map(line => line.textContent),
            json: JSON.parse(sheet.querySelector("pre")?.textContent ?? "null"),
            polygons: sheet.querySelectorAll("polygon").length,
            picture: sheet.querySelector("img")?.naturalWidth ?? 0,
        }))(document.querySelector("article"))"""
    )
    return told


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chromium(tmp_path_factory.mktemp("profile")) as address:
        yield address


@pytest.fixture
def browser(running: str, page: Page) -> Iterator[Browser]:
    """A new tab that shows the page."""
    with tab(running) as shown:
        shown.open(f"http://127.0.0.1:{page.port}/")
        yield shown
        asks = {event["params"]["request"]["url"] for event in shown.events if event["method"] == "Network.requestWillBeSent"}
        own = (f"http://127.0.0.1:{page.port}/", "data:")
        assert all(url.startswith(own) for url in asks), asks
        assert not shown.complaints()


def choose(browser: Browser, *files: Path) -> None:
    root = browser.do("DOM.getDocument")["root"]["nodeId"]
    node = browser.do("DOM.querySelector", nodeId=root, selector="#files")["nodeId"]
    browser.do("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in files])


def test_a_dropped_file_shows_where_it_is_marked(browser: Browser, files: Path) -> None:
    data = {"items": [], "files": [str(files / "marked.png")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.do("Input.dispatchDragEvent", type=kind, x=500, y=700, data=data)
    told = newest(browser)
    assert (told["kind"], told["name"], told["verdict"]) == ("marked", "marked.png", "Marked")
    assert any("ab12cd34ef of shard demo/val-0000" in fact for fact in told["facts"])
    assert told["json"]["file"] == "marked.png"
    assert told["picture"] == 512
    assert told["polygons"] >= 4
    # The overlay lies on the picture, wherever the picture lies on the page.
    sides = browser.ask(
        """["img", "svg"].map(name => document.querySelector(`figure ${name}`).getBoundingClientRect())
           .map(box => [box.left, box.top, box.width, box.height].map(Math.round).join())"""
    )
    assert sides[0] == sides[1]


def test_files_without_a_mark_and_broken_ones_are_told(browser: Browser, files: Path) -> None:
    choose(browser, files / "plain.png")
    told = newest(browser)
    assert (told["kind"], told["polygons"], told["json"]["marked"]) == ("unmarked", 0, False)
    assert told["verdict"].startswith("Not marked")
    choose(browser, files / "broken.png")
    told = newest(browser)
    assert told["kind"] == "error"
    assert "broken" in told["verdict"]
    # A name is text, whatever is in it.
    choose(browser, files / "<img src=x onerror=alert(1)>.txt")
    told = newest(browser)
    assert (told["kind"], told["name"]) == ("error", "<img src=x onerror=alert(1)>.txt")
    assert browser.ask("document.querySelectorAll('article').length") == 3


def test_the_keyboard_is_enough(browser: Browser, files: Path) -> None:
    browser.key("Tab", 9)
    assert browser.ask("document.activeElement.id") == "files"
    choose(browser, files / "marked.png")
    newest(browser)
    browser.key("Tab", 9)
    assert browser.ask("document.activeElement.type") == "checkbox"
    browser.key(" ", 32, " ")
    assert browser.ask("getComputedStyle(document.querySelector('svg')).visibility") == "hidden"
    browser.key("Tab", 9)
    browser.key("Enter", 13, "\r")
    assert browser.ask("document.querySelector('details').open")


def test_another_page_can_neither_send_files_nor_frame_it(browser: Browser, page: Page, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html><title>another</title>")
    answer = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), answer) as other, ThreadPoolExecutor(1) as thread:
        thread.submit(other.serve_forever)
        try:
            browser.open(f"http://127.0.0.1:{other.server_port}/")
            sent = "fetch('http://127.0.0.1:{}/read', {{method: 'POST', body: 'x', mode: 'no-cors'}}).then(() => 1, () => 0)"
            browser.ask(sent.format(page.port))
            framed = f"""new Promise(done => {{
                const frame = document.createElement("iframe");
                frame.onload = done;
                frame.src = "http://127.0.0.1:{page.port}/";
                document.body.append(frame);
            }})"""
            browser.ask(framed)
        finally:
            other.shutdown()
    happened = [(event["method"], event["params"]) for event in browser.events]
    sent_as = [
        p["requestId"] for m, p in happened if m == "Network.requestWillBeSent" and p["request"]["url"].endswith("/read")
    ]
    assert len(sent_as) == 1
    answers = {p["requestId"]: p["statusCode"] for m, p in happened if m == "Network.responseReceivedExtraInfo"}
    assert answers[sent_as[0]] == 403
    said = [p["entry"]["text"] for m, p in happened if m == "Log.entryAdded"]
    assert any("frame-ancestors" in text for text in said), said
    browser.events.clear()
