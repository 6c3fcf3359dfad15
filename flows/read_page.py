"""`read --serve`: a page on this machine that reads the files dropped on it, and shows where their marks were found.

A file is kept for as long as it is read, and opened in another process with bounds on its time and memory, so that none
can hang the page or end it. Only a browser on this machine, showing this page, may send one.
"""

import asyncio
import base64
import multiprocessing
import resource
import secrets
import signal
import socket
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pebble import ProcessExpired, concurrent

from flows.read import Examined, Index, Means, examine, means_at_hand, report, sentences
from forgeline.compute import die_with_parent
from forgeline.errors import FactoryError
from forgeline.peek import peek

HOST = "127.0.0.1"
MOST_BYTES = 1 << 30
"""Of an uploaded file; a larger one is for the command line."""
MOST_S = 120.0
"""Seconds that one file is read for."""
_MOST_MEMORY = 8 << 30  # bytes of address space of the process that reads
_SIDE = 1024  # pixels, of the picture that is shown

_PAGE = Path(__file__).with_name("read_page.html")
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def serve(port: int, releases: Iterable[Path]) -> None:
    """Serve the page on 127.0.0.1:`port` (0: a free one) until interrupted, with the rows of this checkout and `releases`.

    FactoryError when the port is taken, KeyFileError for a bad key file.
    """
    index = Index(releases)
    means = means_at_hand(index)
    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        what = f"can't be served on ({error.strerror})"
        raise FactoryError(f"{HOST}:{port}", what, "stop what runs there, or give --port") from error
    signal.signal(signal.SIGTERM, _interrupt)  # so that what is below is cleaned up then, too
    with listening, tempfile.TemporaryDirectory(prefix="forgeline-read-") as folder:
        at = listening.getsockname()[1]
        app = page(index, means, Path(folder), at)
        print(f"read: drop files on http://{HOST}:{at}; Ctrl-C ends it", flush=True)
        # Whoever ends it need not wait for a file that is still being read.
        settings = uvicorn.Config(app, log_level="warning", ws="none", lifespan="off", timeout_graceful_shutdown=1)
        uvicorn.Server(settings).run([listening])


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def page(index: Index, means: Means, folder: Path, port: int, most_s: float = MOST_S) -> FastAPI:
    """The application: `GET /` is the page, `POST /read` takes a file as its body and answers in JSON.

    What it gets is written below `folder` under a name of its own, and removed when it was read.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)  # FastAPI's own pages load scripts from elsewhere
    hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
    # A new process for each file, forked from one that has seen none: what a file breaks, or breaks into, never sees another.
    apart = multiprocessing.get_context("forkserver")
    apart.set_forkserver_preload([__name__])
    read_apart = concurrent.process(timeout=most_s, context=apart)(_read)  # type: ignore[call-overload]  # typed as mp_context
    one_at_a_time = asyncio.Semaphore(1)

    def foreign(request: Request) -> JSONResponse | None:
        """What to answer to those who are not a browser at this address, or to another site's page in it."""
        if request.headers.get("host") not in hosts:  # a name that somebody else's server resolves to this machine
            return _answer({"error": f"this page is at http://{HOST}:{port} alone"}, 421)
        if request.method != "GET" and request.headers.get("origin") not in {f"http://{host}" for host in hosts}:
            return _answer({"error": "only the page itself may send files"}, 403)
        return None

    @app.get("/")
    async def show(request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        text = _PAGE.read_text(encoding="utf-8").replace("{nonce}", nonce).replace("{most_bytes}", str(MOST_BYTES))
        policy = {"Content-Security-Policy": _POLICY.format(nonce=nonce)}
        return foreign(request) or HTMLResponse(text, headers=_HEADERS | policy)

    @app.post("/read")
    async def read(request: Request) -> Response:
        return foreign(request) or await take(request)

    async def take(request: Request) -> JSONResponse:
        length = request.headers.get("content-length", "")
        if not length.isdigit():
            return _answer({"error": "the file's length is missing"}, 411)
        if int(length) > MOST_BYTES:  # the server takes no more of it than it declares
            return _answer(
                {"error": f"the file is larger than {MOST_BYTES >> 20} MiB; read it with `python -m flows read FILE`"}, 413
            )
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            try:
                async for part in request.stream():
                    file.write(part)
                file.flush()
            except OSError as error:
                return _answer({"error": f"the file can't be stored ({error.strerror}); make room, and send it again"}, 507)
            try:
                async with one_at_a_time:
                    examined, shown = await asyncio.wrap_future(read_apart(Path(file.name), means))
            except asyncio.CancelledError:
                return _answer({"error": "the page was ended"}, 503)
            except TimeoutError:
                return _answer({"error": f"the file was not read within {most_s:g} s; try `python -m flows read FILE`"}, 422)
            except ProcessExpired:
                return _answer(
                    {"error": "reading the file ended the process that read it; it is broken, or asks for too much memory"}, 422
                )
        told = replace(report(examined, index), file="")
        return _answer({"report": asdict(told), "sentences": sentences(told)} | shown)

    return app


def _answer(content: dict[str, Any], status: int = 200) -> JSONResponse:
    return JSONResponse(content, status, headers=_HEADERS)


def _read(path: Path, means: Means) -> tuple[Examined, dict[str, Any]]:
    """In its own process: what the file is, and what the page draws: its first picture, and where on it the mark shows."""
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    examined = examine(path, means)
    reading = examined.reading
    first = next(peek(path).pictures(1), None) if reading else None
    if reading is None or first is None:
        return examined, {"picture": None, "patches": []}
    # In grey, on which the colour of the patches is told well.
    scale = min(1.0, _SIDE / max(first.shape))
    size = (max(round(first.shape[1] * scale), 1), max(round(first.shape[0] * scale), 1))
    jpeg = cv2.imencode(".jpg", cv2.resize(first, size, interpolation=cv2.INTER_AREA))[1].tobytes()
    patches = [asdict(patch) for found in reading.found for patch in found.patches]
    shown = {"picture": f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}", "patches": patches}
    return examined, shown | {"width": reading.width, "height": reading.height}
