"""`rate`: a page on which people say how natural and real samples of a release are, and which are fake.

Raters come by invitation, one a browser, and see one trial after the other (`flows.rate_trials`). The page knows of a sample
its medium and a name that means nothing outside this rater's trial; file names, headers and their order don't tell what it is.
Requests are handled by one process; answers are kept by `flows.rate_store` before they are acknowledged.
"""

import asyncio
import re
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.rate_store import RefusedError, Store, opened, write_ratings
from flows.rate_store import forget as forget_rater
from flows.rate_trials import KINDS, open_release
from forgeline.errors import FactoryError

HOST = "127.0.0.1"
MOST_BYTES = 4096
"""Of a request's body: answers are small, and nothing else is taken."""

_COOKIE = "rater"
_COOKIE_S = 180 * 86400
_LONGEST_S = 3600.0
_PAGE = Path(__file__).with_name("rate_page.html")
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_UNINVITED = {"error": "open the link of your invitation in this browser"}
_T = TypeVar("_T")


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Entry(_Message):
    token: Annotated[str, Field(max_length=100)]
    session: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    """Drawn by the browser, so that it may ask again where the answer to its first request was lost."""


class _Single(_Message):
    naturalness: Annotated[int, Field(ge=1, le=5)]
    realism: Annotated[int, Field(ge=1, le=5)]
    fake: Literal["yes", "no"]
    confidence: Annotated[int, Field(ge=1, le=5)]


class _Pair(_Message):
    pair: Literal["left", "right"]


class _Answer(_Message):
    number: Annotated[int, Field(ge=0, lt=1 << 31)]
    given: _Single | _Pair
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]


def invite(folder: Path, count: int, port: int, address: str | None) -> list[str]:
    """Links for `count` new raters of a release. They can't be shown again.

    FactoryError where the folder is no release, answers are kept of another version of it, or the address is none.
    """
    if count < 1:
        raise FactoryError("rate", f"can't invite {count} raters", "give a number from 1 up")
    with closing(opened(open_release(folder), folder)) as store:
        return [f"{_called(port, address)}/#{token}" for token in store.invite(count)]


def results(folder: Path) -> str:
    """Write the table of answers, and say what is in it."""
    path, raters, trials = write_ratings(open_release(folder).name)
    return f"{path}: {trials} trials answered by {raters} raters; version it with `dvc add {path}`"


def forget(folder: Path, rater: str) -> str:
    """Delete a rater's answers and invitation, and say what remains to be done."""
    path, trials = forget_rater(open_release(folder).name, rater)
    return f"{rater}: forgotten, with {trials} answered trials; `dvc add {path}` anew, versions of before still hold them"


def _called(port: int, address: str | None) -> str:
    """What raters' browsers call the page. FactoryError for what is no such thing."""
    if address is None:
        return f"http://{HOST}:{port}"
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d+)?/?", address):
        raise FactoryError(address, "is no address of a page", "give it as https://rate.example.org")
    return address.rstrip("/").lower()


def serve(folder: Path, port: int, address: str | None) -> None:
    """Serve the page on 127.0.0.1:`port` (0: a free one) until interrupted; `address` is what a proxy in front is called.

    FactoryError when the port is taken, or nobody was invited, and what `invite` raises.
    """
    with closing(opened(open_release(folder), folder)) as store:
        if not store.raters():
            raise FactoryError(store.name, "has no raters yet", "invite some first: `rate --invite N`")
        try:
            listening = socket.create_server((HOST, port), backlog=512)
        except OSError as error:
            what = f"can't be served on ({error.strerror})"
            raise FactoryError(f"{HOST}:{port}", what, "stop what runs there, or give --port") from error
        signal.signal(signal.SIGTERM, _interrupt)
        with listening:
            at = listening.getsockname()[1]
            called = _called(at, address)
            app = page(store, at, called)
            print(f"rate: {store.raters()} raters may come to {called}; Ctrl-C ends it", flush=True)
            settings = uvicorn.Config(app, log_level="warning", access_log=False, ws="none", lifespan="off")
            settings.timeout_graceful_shutdown = 1
            uvicorn.Server(settings).run([listening])


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def page(store: Store, port: int, address: str) -> FastAPI:
    """The application, on this machine's `port`, for those who call it `address`.

    `GET /` is the page, `POST /enter` takes an invitation, `GET /state` tells of the trial that is due, `POST /answer` takes
    its answers and tells of the next one, and `GET /media/…` is what it shows.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)  # FastAPI's own pages load scripts from elsewhere
    origins = {f"http://{name}:{port}" for name in (HOST, "localhost")} | {address}
    hosts = {urlsplit(origin).netloc for origin in origins}
    secure = address.startswith("https://")
    thread = ThreadPoolExecutor(1)  # the store's

    async def kept(do: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(thread, do, *arguments)

    @app.middleware("http")
    async def guarded(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        response = _foreign(request, hosts, origins) or await go_on(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.get("/")
    async def show() -> Response:
        nonce = secrets.token_urlsafe(16)
        text = _PAGE.read_text(encoding="utf-8").replace("{nonce}", nonce)
        return HTMLResponse(text, headers={"Content-Security-Policy": _POLICY.format(nonce=nonce)})

    @app.post("/enter")
    async def enter(request: Request) -> Response:
        try:
            entry = _Entry.model_validate_json(await request.body())
            session, told = await kept(_entered, store, entry, request.cookies.get(_COOKIE))
        except ValidationError:
            return _answer({"error": "this is no invitation"}, 422)
        except RefusedError as error:
            return _answer({"error": _sentence(error)}, 403)
        response = _answer(told)
        response.set_cookie(_COOKIE, session, max_age=_COOKIE_S, secure=secure, httponly=True, samesite="strict")
        return response

    @app.get("/state")
    async def state(request: Request) -> Response:
        told = await kept(_state, store, request.cookies.get(_COOKIE))
        return _answer(told) if told else _answer(_UNINVITED, 401)

    @app.post("/answer")
    async def answer(request: Request) -> Response:
        try:
            said = _Answer.model_validate_json(await request.body())
            taken, told = await kept(_answered, store, request.cookies.get(_COOKIE), said)
        except ValidationError:
            return _answer({"error": "this is no answer"}, 422)
        except RefusedError as error:
            return _answer({"error": _sentence(error)}, 422)
        return _answer(told, 200 if taken else 409) if told else _answer(_UNINVITED, 401)

    @app.get("/media/{alias}")
    async def media(alias: str, request: Request) -> Response:
        path = await kept(_file, store, request.cookies.get(_COOKIE), alias)
        if path is None:
            return _answer({"error": "there is nothing of this name"}, 404)
        # What the file's own date or size would say is left out: all differ by name, type and length alone.
        same = {
            "Cache-Control": "private, max-age=86400",
            "ETag": f'"{alias}"',
            "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT",
        }
        return FileResponse(path, media_type=KINDS[path.suffix], headers=same)

    return app


def _foreign(request: Request, hosts: set[str], origins: set[str]) -> Response | None:
    """What to answer to those who are not a browser at this address, to another site's page in it, or to what is too large."""
    if request.headers.get("host") not in hosts:  # a name that somebody else's server resolves to this machine
        return _answer({"error": "this page is not served under that name"}, 421)
    if request.method in ("GET", "HEAD"):
        return None
    if request.headers.get("origin") not in origins or request.headers.get("content-type") != "application/json":
        return _answer({"error": "only the page itself may send answers"}, 403)
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        return _answer({"error": "the length is missing"}, 411)
    if int(length) > MOST_BYTES:  # the server takes no more than is declared
        return _answer({"error": "this is too large to be an answer"}, 413)
    return None


# In the store's thread, a call each ----------------------------------------------------------------------------------


def _entered(store: Store, entry: _Entry, cookie: str | None) -> tuple[str, dict[str, Any]]:
    rater, session = store.enter(entry.token, cookie, entry.session)
    return session, _told(store, rater)


def _state(store: Store, session: str | None) -> dict[str, Any] | None:
    rater = store.rater(session)
    return _told(store, rater) if rater else None


def _answered(store: Store, session: str | None, said: _Answer) -> tuple[bool, dict[str, Any] | None]:
    rater = store.rater(session)
    if rater is None:
        return False, None
    taken = store.answer(rater, said.number, said.given.model_dump(), min(said.seconds, _LONGEST_S))
    return taken, _told(store, rater)


def _file(store: Store, session: str | None, alias: str) -> Path | None:
    rater = store.rater(session)
    return store.file(rater, alias) if rater else None


def _told(store: Store, rater: str) -> dict[str, Any]:
    """What the page is told: how far this rater is, what to show now, and what to load for then."""
    progress = store.progress(rater)

    def shown(number: int) -> dict[str, Any] | None:
        if number >= len(progress.trials):
            return None
        media = [{"url": f"/media/{alias}", "type": medium} for alias, medium in store.shown(rater, number)]
        return {"kind": progress.trials[number].kind, "media": media}

    number = progress.number
    return {"rater": rater, "done": number, "of": len(progress.trials), "trial": shown(number), "soon": shown(number + 1)}


def _sentence(error: FactoryError) -> str:
    return f"This {error.which} {error.what}; {error.todo}."


def _answer(content: dict[str, Any], status: int = 200) -> JSONResponse:
    return JSONResponse(content, status)
