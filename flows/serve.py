"""`serve`: a Prefect server of this checkout's own, a worker, and the schedules of prefect.yaml, until it is stopped."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows import workspace
from flows.command import PYTHON, environment, run, tied
from flows.stage_flows import API
from forgeline.errors import FactoryError

HOME = "FORGELINE_PREFECT_HOME"
"""The environment variable that names the folder of the server's database."""
HOST = "127.0.0.1"
POOL = "forgeline"
_PATIENCE_S = 180.0
_BUSY_S = 60.0


def serve(port: int, deployments: Path) -> None:
    """Serve on 127.0.0.1:`port` until interrupted, with what `deployments` (a prefect.yaml) lists.

    All that it starts ends with it, however it ends. FactoryError when the port is taken or a part of it dies.
    """
    home = Path(os.environ.get(HOME) or workspace.LOCAL / "prefect").absolute()
    home.mkdir(parents=True, exist_ok=True)
    url = f"http://{HOST}:{port}/api"
    _require_free(port)
    os.environ.update(
        {
            API: url,
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            # Else any page open in a browser here could call the API, which can run programs.
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port}",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "DO_NOT_TRACK": "1",
        }
    )
    signal.signal(signal.SIGTERM, _interrupt)
    prefect = [PYTHON, "-m", "prefect"]
    with _child([*prefect, "server", "start", "--host", HOST, "--port", str(port)], home / "server.log") as server:
        _await(url, server, home / "server.log")
        _end_orphans(url)
        run([*prefect, "--no-prompt", "work-pool", "create", POOL, "--type", "process", "--overwrite"])
        run([*prefect, "--no-prompt", "deploy", "--all", "--prefect-file", str(deployments)])
        with _child([*prefect, "worker", "start", "--pool", POOL, "--name", POOL], home / "worker.log") as worker:
            print(f"serve: the UI is at http://{HOST}:{port}; logs are in {home}; Ctrl-C ends it", flush=True)
            _watch({"server": server, "worker": worker}, home)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise FactoryError(
                f"{HOST}:{port}", f"can't be served on ({error.strerror})", "stop what runs there, or give --port"
            ) from error


@contextmanager
def _child(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes to `log`, and is ended with the block: asked first, since a worker ends its runs then."""
    with log.open("ab") as out:
        # In a session of its own, so that Ctrl-C reaches this process alone, which stops worker and server in that order.
        process = subprocess.Popen(
            tied(command), env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise FactoryError("serve", "the Prefect server did not start", f"see {log}")


def _end_orphans(url: str) -> None:
    """A deployment's runs end with worker and server: one that is still open now was cut off, by a power cut say.

    Its deployment takes one run at a time, so that it would bar every other.
    """
    open_states = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}, "deployment_id": {"is_null_": False}}
    for found in ask(f"{url}/flow_runs/filter", {"flow_runs": open_states}):
        state = {"type": "CRASHED", "message": "it was cut off when its server ended"}
        ask(f"{url}/flow_runs/{found['id']}/set_state", {"state": state, "force": True})
        print(f"serve: {found['name']} was cut off; it is marked as crashed", file=sys.stderr, flush=True)


def ask(url: str, body: Any) -> Any:
    """What the server answers to a JSON body; asked again while its database is busy (503), as Prefect's own client does."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            if error.code != 503 or time.monotonic() > until:
                raise
            time.sleep(0.5)


def _watch(children: dict[str, subprocess.Popen[bytes]], home: Path) -> None:
    while True:
        for name, process in children.items():
            if process.poll() is not None:
                raise FactoryError("serve", f"the {name} ended (exit code {process.returncode})", f"see {home / f'{name}.log'}")
        time.sleep(1)
