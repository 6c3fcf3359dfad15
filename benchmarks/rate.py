"""Many raters at once, and a server that is killed among them: does an answer that was acknowledged get lost?

    python -m benchmarks.rate [RELEASE] [RATERS] [TRIALS]

A real server (`python -m flows rate`) in a folder of its own; each rater is a client with cookies of its own, enters, and then
loads what is shown (its first 64 KiB) and answers, without pausing to think. Once undisturbed; once more with other raters, and
at a third and at two thirds of the answers the server is killed with SIGKILL and started again: clients ask again, as the page
does.
"""

import asyncio
import os
import random
import secrets
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]

from forgeline.recipe import canonical

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Load:
    """What the clients saw: acknowledged answers, the seconds of each request that was answered, and how many were not.

    `server_cpu_s` is what the servers took once they were up.
    """

    acknowledged: dict[tuple[str, int], str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    unanswered: int = 0
    wall_s: float = 0.0
    server_cpu_s: float = 0.0


def invite(folder: Path, release: Path, count: int) -> list[str]:
    """The tokens of new raters."""
    command = [sys.executable, "-m", "flows", "rate", str(release), "--invite", str(count)]
    said = subprocess.run(command, cwd=folder, env=_env(), stdout=subprocess.PIPE, text=True, check=True).stdout
    return [line.split("#")[1] for line in said.splitlines()]


@contextmanager
def served(folder: Path, release: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server, and its port; what is left of it is ended as a user would end it."""
    command = [sys.executable, "-m", "flows", "rate", str(release), "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, env=_env(), stdout=subprocess.PIPE, text=True) as server:
        try:
            said = server.stdout.readline() if server.stdout else ""
            yield server, int(said.split("http://127.0.0.1:")[1].split(";")[0])
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def _env() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def load(folder: Path, release: Path, tokens: list[str], trials: int, kills: int) -> Load:
    """Let all raters answer `trials` trials at once, while the server is killed and started again `kills` times."""
    seen = Load()
    total = len(tokens) * trials
    began = time.monotonic()

    async def all_of_them() -> None:
        with ExitStack() as servers:
            server, port = servers.enter_context(served(folder, release))
            before = _cpu_s(server)
            async with asyncio.TaskGroup() as group:
                for token in tokens:
                    group.create_task(_rater(seen, port, token, trials))
                for kill in range(kills):
                    while len(seen.acknowledged) < total * (kill + 1) // (kills + 1):
                        await asyncio.sleep(0.005)
                    seen.server_cpu_s += _cpu_s(server) - before
                    server.kill()
                    await asyncio.to_thread(server.wait)
                    server, _ = await asyncio.to_thread(servers.enter_context, served(folder, release, port))
                    before = _cpu_s(server)
            seen.server_cpu_s += _cpu_s(server) - before

    asyncio.run(all_of_them())
    seen.wall_s = time.monotonic() - began
    return seen


def _cpu_s(server: subprocess.Popen[str]) -> float:
    times = psutil.Process(server.pid).cpu_times()
    return float(times.user + times.system)


async def _rater(seen: Load, port: int, token: str, trials: int) -> None:
    rng = random.Random(token)
    origin = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=origin, headers={"Origin": origin}, timeout=60) as client:

        async def asked(method: str, path: str, **content: Any) -> httpx.Response:
            while True:
                began = time.monotonic()
                try:
                    answer = await client.request(method, path, **content)
                except httpx.TransportError:
                    seen.unanswered += 1
                    await asyncio.sleep(0.5)
                    continue
                seen.seconds.append(time.monotonic() - began)
                return answer

        entered = await asked("POST", "/enter", json={"token": token, "session": secrets.token_hex(16)})
        state = entered.raise_for_status().json()
        for number in range(trials):
            for media in state["trial"]["media"]:
                (await asked("GET", media["url"], headers={"Range": "bytes=0-65535"})).raise_for_status()
            scales = {"naturalness": rng.randint(1, 5), "realism": rng.randint(1, 5), "fake": rng.choice(["yes", "no"])}
            scales["confidence"] = rng.randint(1, 5)
            given = scales if state["trial"]["kind"] == "single" else {"pair": rng.choice(["left", "right"])}
            told = await asked("POST", "/answer", json={"number": number, "given": given, "seconds": 5.0})
            state = told.raise_for_status().json()
            seen.acknowledged[state["rater"], number] = canonical(given)


def kept(folder: Path) -> dict[tuple[str, int], str]:
    """What is in the database."""
    (path,) = (folder / "data/raters").glob("*/answers.sqlite")
    with closing(sqlite3.connect(path)) as link:
        return {(rater, number): given for rater, number, given in link.execute("SELECT rater, number, given FROM answer")}


def main(release: Path, raters: int, trials: int) -> None:
    names = ("raters", "kills", "answers acknowledged", "lost", "s", "answers/s", "server CPU ms an answer")
    print("|", *(f"{name} |" for name in (*names, "request, median ms", "99 % ms", "requests without answer")))
    print("|" + "---|" * 10)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kills in (0, 2):
            seen = load(folder, release.resolve(), invite(folder, release.resolve(), raters), trials, kills)
            found = kept(folder)
            count = len(seen.acknowledged)
            lost = sum(found.get(key) != given for key, given in seen.acknowledged.items())
            times = [1000 * each for each in quantiles(seen.seconds, n=100)]
            told = (
                raters,
                kills,
                count,
                lost,
                f"{seen.wall_s:.1f}",
                f"{count / seen.wall_s:.0f}",
                f"{1000 * seen.server_cpu_s / count:.1f}",
            )
            print("|", *(f"{each} |" for each in (*told, f"{times[49]:.0f}", f"{times[98]:.0f}", seen.unanswered)), flush=True)


if __name__ == "__main__":
    given = dict(enumerate(sys.argv[1:]))
    main(Path(given.get(0, "data/release")), int(given.get(1, 200)), int(given.get(2, 20)))
