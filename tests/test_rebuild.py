"""The scheduled rebuild against a real Prefect server, a git repository and a DVC remote; and stages as Prefect flows."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import psutil
import pytest
import yaml

from flows.command import run
from flows.rebuild import Place, link, publish, pull, rebuild, refresh, sign
from flows.serve import ask
from forgeline.errors import FactoryError, LockedError, SourceError
from tests.conftest import Checkout, copied, user_env

Found = TypeVar("Found")


def until(what: str, look: Callable[[], Found], patience_s: float = 400) -> Found:
    """Poll until `look` gives something that is true."""
    end = time.monotonic() + patience_s
    while not (found := look()):
        assert time.monotonic() < end, f"waited {patience_s:g} s for {what}"
        time.sleep(0.25)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """`python -m flows serve` in a checkout, and questions to its API."""

    checkout: Checkout
    home: Path
    deployments: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        env = self.checkout.env | {"FORGELINE_PREFECT_HOME": str(self.home), "PREFECT_WORKER_QUERY_SECONDS": "2"}
        command = ["python", "-m", "flows", "serve", "--port", str(self.port), "--deployments", str(self.deployments)]
        with (self.home / "serve.log").open("wb") as log:
            # What a shell runs in the background ignores SIGINT, and hands that down.
            heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
            self.process = subprocess.Popen(command, cwd=self.checkout.path, env=env, stdout=log, stderr=log, preexec_fn=heed)
        until("the server", self._is_up)

    def _is_up(self) -> bool:
        said = (self.home / "serve.log").read_text()
        assert self.process
        assert self.process.poll() is None, said
        return "the UI is at" in said

    def end(self, by: signal.Signals) -> None:
        """Send the signal, and see that nothing is left."""
        if self.process:
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.send_signal(by)
            self.process.wait(60)
            _, alive = psutil.wait_procs(family, timeout=20)
            assert not alive, f"outlived serve: {alive}"
            self.process = None

    @property
    def env(self) -> dict[str, str]:
        return {"PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api", "PREFECT_HOME": str(self.home)}

    def ask(self, path: str, body: object) -> Any:
        return ask(f"{self.env['PREFECT_API_URL']}/{path}", body)

    def runs(self, deployment: str, *states: str) -> list[dict[str, Any]]:
        """The runs of a deployment in these states, oldest first."""
        found: list[dict[str, Any]] = self.ask(
            "flow_runs/filter",
            {
                "deployments": {"name": {"any_": [deployment]}},
                "flow_runs": {"state": {"type": {"any_": list(states)}}},
                "sort": "START_TIME_ASC",
            },
        )
        return found

    def log(self, run: dict[str, Any]) -> str:
        lines: list[dict[str, Any]] = []
        while True:
            more = self.ask(
                "logs/filter",
                {"logs": {"flow_run_id": {"any_": [run["id"]]}}, "offset": len(lines), "sort": "TIMESTAMP_ASC"},
            )
            lines += more
            if not more:
                return "\n".join(line["message"] for line in lines)


def deployments_of(tiny: Checkout, file: Path, name: str, interval_s: int | None, **parameters: str) -> Path:
    """The shipped prefect.yaml with another name, parameters and, where given, an interval."""
    graph = yaml.safe_load((tiny.path / "prefect.yaml").read_text())
    (only,) = graph["deployments"]
    only |= {"name": name, "parameters": parameters}
    if interval_s:
        only["schedules"] = [{"interval": interval_s}]
    file.write_text(yaml.safe_dump(graph))
    return file


@pytest.fixture(scope="module")
def server(tiny: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("prefect")
    # Its hour may come during the tests: what it would rebuild isn't there.
    file = deployments_of(tiny, home / "shipped.yaml", "shipped", None, repository=str(home / "nothing"), clone=str(home / "c"))
    made = Server(tiny, home, file)
    made.start()
    yield made
    made.end(signal.SIGINT)


@pytest.fixture
def published(tiny: Checkout, tmp_path: Path) -> Checkout:
    """A user's clone of a bare repository `origin.git`, whose data were pushed to a DVC remote in `store`."""
    tiny.run("git", "clone", "--quiet", "--bare", str(tiny.path), str(tmp_path / "origin.git"))
    checkout = copied(tiny, tmp_path / "user")
    checkout.run("git", "remote", "set-url", "origin", str(tmp_path / "origin.git"))
    checkout.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    checkout.commit("Build the dataset")
    checkout.flows("push")
    checkout.run("git", "push", "--quiet", "origin", "HEAD")
    return checkout


def refs(bare: Path) -> str:
    return subprocess.run(["git", "for-each-ref"], cwd=bare, capture_output=True, text=True, check=True).stdout


def objects(store: Path) -> set[str]:
    return {p.relative_to(store).as_posix() for p in store.rglob("*") if p.is_file()}


def test_schedule_fires_reuses_tags_and_stops_at_the_gate(server: Server, published: Checkout, tmp_path: Path) -> None:
    sent = objects(tmp_path / "store")
    where = {"repository": str(tmp_path / "origin.git"), "clone": str(tmp_path / "clone")}
    file = deployments_of(server.checkout, tmp_path / "often.yaml", "often", 5, **where)
    server.checkout.run("python", "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file), **server.env)

    try:
        _watch_schedule(server, published, tmp_path, sent)
    finally:
        (often,) = server.ask("deployments/filter", {"deployments": {"name": {"any_": ["often"]}}})
        server.ask(f"deployments/{often['id']}/pause_deployment", {})


def _watch_schedule(server: Server, published: Checkout, tmp_path: Path, sent: set[str]) -> None:
    bare, store, clone = tmp_path / "origin.git", tmp_path / "store", tmp_path / "clone"
    done = until("a scheduled run to complete", lambda: server.runs("often", "COMPLETED", "FAILED", "CRASHED"))[0]
    said = server.log(done)
    assert done["state"]["type"] == "COMPLETED", said
    assert done["auto_scheduled"]
    # What the remote has is used; what never leaves a machine (tracks of faces, models) is made again, and the plan each night.
    assert {line for line in said.splitlines() if line.startswith("Running stage")} == {
        "Running stage 'ingest@demo':",
        "Running stage 'plan':",
        *(f"Running stage 'train@{name}':" for name in published.params()["generators"]),
    }
    assert (clone / "dvc.lock").read_bytes() == (published.path / "dvc.lock").read_bytes()
    assert objects(store) == sent
    (tag,) = published.run("git", "ls-remote", "--tags", "--refs", "origin").stdout.splitlines()

    with (published.path / "flows/audit.py").open("a") as code:
        code.write('\n\ndef _pairs(rows: Sequence[Sample], params: Params) -> Iterator[str]:\n    yield "a fault by a test"\n')
    published.commit("Find a fault")
    published.run("git", "push", "--quiet", "origin", "HEAD")
    before = refs(bare)
    failed = until("a scheduled run to fail", lambda: server.runs("often", "FAILED", "CRASHED"))[0]
    until("its log to come, which is sent in pieces", lambda: "pairs: a fault by a test" in server.log(failed))
    assert tag.split("/")[-1] in before
    assert refs(bare) == before
    assert objects(store) == sent
    assert not published.run("git", "status", "--porcelain").stdout, "the user's checkout was touched"

    ended = server.runs("often", "COMPLETED", "FAILED")
    times = [(run["start_time"], run["end_time"]) for run in ended]
    assert all(first[1] <= then[0] for first, then in pairwise(times)), "two at once"


def test_shipped_deployment(server: Server) -> None:
    (shipped,) = server.ask("deployments/filter", {"deployments": {"name": {"any_": ["shipped"]}}})
    (schedule,) = shipped["schedules"]
    assert schedule["active"]
    assert schedule["schedule"]["cron"] == "0 3 * * *"
    assert shipped["entrypoint"] == "flows.rebuild.rebuild"
    assert shipped["global_concurrency_limit"]["limit"] == 1
    assert shipped["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"


def test_serve_dies_as_a_whole_and_ends_what_was_cut_off(server: Server) -> None:
    def shipped() -> Any:
        (found,) = server.ask("deployments/filter", {"deployments": {"name": {"any_": ["shipped"]}}})
        return found

    later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2100-01-01T00:00:00Z"}}
    run = server.ask(f"deployments/{shipped()['id']}/create_flow_run", {"state": later})
    for state in ("PENDING", "RUNNING"):
        server.ask(f"flow_runs/{run['id']}/set_state", {"state": {"type": state}})
    assert shipped()["global_concurrency_limit"]["active_slots"] == 1
    server.end(signal.SIGKILL)
    server.start()
    (now,) = server.ask("flow_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    assert now["state"]["type"] == "CRASHED"
    assert shipped()["global_concurrency_limit"]["active_slots"] == 0, "it bars the next run"


def test_serve_on_a_taken_port(tiny: Checkout, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = tiny.flows("serve", "--port", port, fails=True, FORGELINE_PREFECT_HOME=str(tmp_path)).stderr
    assert f"127.0.0.1:{port}: can't be served on (Address already in use)" in said


def test_stage_is_a_flow_where_there_is_a_server(server: Server, clone: Checkout) -> None:
    real = clone.path / "data/real/demo"
    before = {p.relative_to(real): p.read_bytes() for p in real.rglob("*") if p.is_file()}
    for path in before:
        (real / path).unlink()
    clone.flows("ingest", "demo", **server.env)
    assert {p.relative_to(real): p.read_bytes() for p in real.rglob("*") if p.is_file()} == before
    run = server.ask("flow_runs/filter", {"flow_runs": {"name": {"any_": ["ingest demo"]}}, "sort": "START_TIME_DESC"})[0]
    assert (run["state"]["type"], run["parameters"]) == ("COMPLETED", {"of": "demo"})
    of_run = {"flow_runs": {"id": {"any_": [run["id"]]}}}
    # Task runs reach the database a little later.

    def tasks() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = server.ask("task_runs/filter", of_run)
        return found if len(found) == 3 else []

    # Tracking, and then the marks, and the prints.
    assert {task["name"] for task in until("the task runs", tasks, 60)} == {"ingest demo: 1 to 4 of 4"}
    until("their end", lambda: {task["state"]["type"] for task in tasks()} == {"COMPLETED"}, 60)
    shown = [(a["type"], a["data"]) for a in server.ask("artifacts/filter", of_run) if a["key"]]
    assert [data for kind, data in shown if kind == "progress"] == [100, 100, 100]
    tables = [json.loads(data) for kind, data in shown if kind == "table"]
    assert [[(row["items"], row["died"]) for row in rows] for rows in tables] == [[(4, 0)]] * 3


def test_the_report_is_kept_beside_its_run(server: Server, clone: Checkout) -> None:
    page = clone.path / "data/report/index.html"
    before = page.read_bytes()
    page.unlink()
    clone.flows("report", **server.env)
    assert page.read_bytes() == before
    named = {"flow_runs": {"name": {"any_": ["report"]}}, "sort": "START_TIME_DESC", "limit": 1}
    (run,) = server.ask("flow_runs/filter", named)
    found = server.ask("artifacts/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    shown = {artifact["key"]: artifact["data"] for artifact in found if artifact["key"]}
    assert shown["verdict"].startswith("**audit passed**")
    assert {"check": "marks", "passed": True, "found": 0} in json.loads(shown["verdict-table"])


def test_stage_without_a_server_does_not_import_prefect(clone: Checkout) -> None:
    probe = "import sys; from flows.__main__ import main; code = main(['audit']); sys.exit(code or 'prefect' in sys.modules)"
    clone.run("python", "-c", probe)


def test_dead_server_is_said_plainly(clone: Checkout) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    done = clone.flows("audit", fails=True, PREFECT_API_URL=url)
    assert done.returncode == 2
    assert f"PREFECT_API_URL: no Prefect server answers at {url}" in done.stderr


RETRIED = """
import sys
from pathlib import Path
from types import SimpleNamespace

from flows.items import SPREAD, Finished, Item
from flows.stage_flows import run_stage

LOG = Path(sys.argv[1])


def work(item):
    first = not LOG.exists() or item.name not in LOG.read_text()
    with LOG.open("a") as log:
        log.write(item.name)
    if item.name == "b" and first:
        raise OSError("the disk was away")
    return Finished(item.sample, ())


def stage():
    items = [Item(name, "", SimpleNamespace(shard="s")) for name in "abc"]
    print("gave", *sorted(item.name for item, _ in SPREAD.get()(work, items)))


if __name__ == "__main__":
    run_stage("retried", None, stage)
"""


def test_what_the_disk_refuses_is_tried_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "retried.py").write_text(RETRIED)
    env = server.env | {"PYTHONPATH": str(server.checkout.path)}
    done = server.checkout.run("python", str(tmp_path / "retried.py"), str(tmp_path / "log"), **env)
    assert "gave a b c" in done.stdout + done.stderr
    assert (tmp_path / "log").read_text().count("b") == 2


SALTED = (
    "of=data/made/made.txt; to=data/signatures; mkdir -p $to;"
    " cmp -s $of $to/of || (cp $of $to/of; cat /proc/sys/kernel/random/uuid > $to/salt)"
)
"""Like the stage `sign`: never twice the same, unless there is nothing new to sign."""


@pytest.fixture(scope="module")
def small_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `small`, built once."""
    folder = tmp_path_factory.mktemp("small")
    project = Checkout(folder / "user", user_env(folder))
    (project.path / ".dvc").mkdir(parents=True)
    project.run("git", "init", "--quiet", "--initial-branch", "main")
    stages = {
        name: {
            "cmd": f"mkdir -p data/{name} && cp params.yaml data/{name}/{name}.txt",
            "params": ["text"],
            "outs": [{f"data/{name}": {"persist": True, **({"push": False} if name == "real" else {})}}],
        }
        for name in ("real", "made")
    }
    (project.path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (project.path / "signing").mkdir()
    signing = {"sign": {"wdir": "..", "cmd": SALTED, "deps": ["data/made"], "outs": [{"data/signatures": {"persist": True}}]}}
    (project.path / "signing/dvc.yaml").write_text(yaml.safe_dump({"stages": signing}))
    (project.path / ".gitignore").write_text("/data/\n/.dvc/cache\n/.dvc/tmp\n")
    store = folder / "store"
    (project.path / ".dvc/config").write_text(f"[core]\n    remote = store\n['remote \"store\"']\n    url = {store}\n")
    project.run("git", "init", "--quiet", "--bare", "--initial-branch", "main", str(folder / "origin.git"))
    project.run("git", "remote", "add", "origin", str(folder / "origin.git"))
    build(project, "one")
    return folder


@pytest.fixture
def small(small_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A project of a few bytes: a stage whose output is kept and pushed, and one whose output stays here."""
    for name, value in user_env(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    shutil.copytree(small_once, tmp_path, dirs_exist_ok=True)
    project = Checkout(tmp_path / "user", user_env(tmp_path))
    for config in (project.path / ".dvc/config", project.path / ".git/config"):
        config.write_text(config.read_text().replace(str(small_once), str(tmp_path)))
    project.commit("Move the remote")
    project.run("git", "push", "--quiet", "origin", "HEAD")
    return project


def build(project: Checkout, text: str) -> None:
    (project.path / "params.yaml").write_text(f"text: {text}\nsources: {{demo: {{kind: demo}}}}\n")
    project.run("dvc", "repro")
    project.run("dvc", "push")
    project.commit(f"Build {text}")
    project.run("git", "push", "--quiet", "origin", "HEAD")


@pytest.fixture
def place(small: Checkout, tmp_path: Path) -> Place:
    """A clone of the small project as `rebuild` has it after its first two steps."""
    place = Place(str(tmp_path / "origin.git"), tmp_path / "clone", None, None)
    refresh(place)
    pull(place)
    return place


def test_pull_spares_unfinished_work_until_somebody_built_newer(small: Checkout, place: Place) -> None:
    made, real = place.clone / "data/made", place.clone / "data/real"
    assert (made / "made.txt").read_text().startswith("text: one")
    assert not real.exists()
    real.mkdir()
    (real / "tracks").write_text("slow to make")
    (made / "next").write_text("a stopped build's")
    refresh(place)
    pull(place)
    assert (made / "next").exists()
    build(small, "two")
    refresh(place)
    pull(place)
    assert sorted(p.name for p in made.iterdir()) == ["made.txt"]
    assert (made / "made.txt").read_text().startswith("text: two")
    assert (real / "tracks").exists()


def test_pull_gets_back_what_was_lost(place: Place) -> None:
    (place.clone / "data/made/made.txt").unlink()
    (place.clone / "data/made").rmdir()
    pull(place)
    assert (place.clone / "data/made/made.txt").exists()


def test_publish_tags_a_lock_once(small: Checkout, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(place)
    first = refs(tmp_path / "origin.git")
    assert first.count("refs/tags/v") == 1
    publish(place)
    assert "no new tag" in capsys.readouterr().out
    assert refs(tmp_path / "origin.git") == first


def test_signatures_are_made_once_and_published(
    small: Checkout, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(place)
    assert not (place.clone / "data/signatures").exists(), "it signed without a certificate"
    publish(place)
    monkeypatch.setenv("FORGELINE_SIGNING_CERT", "a certificate")
    sign(place)
    run(["dvc", "push"], place.clone)
    publish(place)
    first = refs(tmp_path / "origin.git")
    assert first.count("refs/tags/v") == 2, "what is signed is another version than what was not"
    # Another machine gets the signatures, and makes none where nothing changed.
    other = Place(place.repository, tmp_path / "other", None, None)
    refresh(other)
    pull(other)
    salt = (place.clone / "data/signatures/salt").read_text()
    assert (other.clone / "data/signatures/salt").read_text() == salt
    sign(other)
    publish(other)
    assert refs(tmp_path / "origin.git") == first
    small.run("git", "pull", "--quiet", "origin", "main")
    build(small, "two")
    refresh(other)
    pull(other)
    sign(other)
    assert (other.clone / "data/signatures/salt").read_text() != salt
    assert (other.clone / "data/signatures/of").read_text().startswith("text: two")


def test_publish_that_came_too_late_leaves_nothing(small: Checkout, place: Place, tmp_path: Path) -> None:
    (place.clone / "dvc.lock").write_text((place.clone / "dvc.lock").read_text() + "# rebuilt\n")
    build(small, "two")
    before = refs(tmp_path / "origin.git")
    with pytest.raises(FactoryError, match="git push"):
        publish(place)
    assert refs(tmp_path / "origin.git") == before
    refresh(place)
    local = subprocess.run(["git", "tag"], cwd=place.clone, capture_output=True, text=True, check=True).stdout
    assert not local, "a tag that nobody else has stayed in the clone"


def test_failing_stage_ends_a_rebuild_before_it_pushes(small: Checkout, tmp_path: Path) -> None:
    graph = small.path / "dvc.yaml"
    stages = yaml.safe_load(graph.read_text().replace("mkdir -p data/made", "mkdir -p data/made && false"))["stages"]
    graph.write_text(yaml.safe_dump({"stages": stages | {"plan": {"cmd": "true"}}}))
    small.commit("Break a stage")
    small.run("git", "push", "--quiet", "origin", "HEAD")
    before = refs(tmp_path / "origin.git"), objects(tmp_path / "store")
    # The scan needs the factory's code; a module of the same name in the project stands in for it.
    (small.path / "flows").mkdir()
    (small.path / "flows/__init__.py").write_text("")  # without it, an installed package of that name would be taken
    (small.path / "flows/__main__.py").write_text("")
    small.commit("Add a scan")
    small.run("git", "push", "--quiet", "origin", "HEAD")
    before = refs(tmp_path / "origin.git"), objects(tmp_path / "store")
    with pytest.raises(FactoryError, match=r"dvc repro: failed"):
        rebuild.fn(repository=str(tmp_path / "origin.git"), clone=str(tmp_path / "clone"))
    assert (refs(tmp_path / "origin.git"), objects(tmp_path / "store")) == before


def test_somebodys_checkout_is_left_alone(small: Checkout, tmp_path: Path) -> None:
    (small.path / "params.yaml").write_text("text: not committed\n")
    with pytest.raises(FactoryError, match="is a checkout that rebuild did not make"):
        rebuild.fn(repository=str(tmp_path / "origin.git"), clone=str(small.path))
    assert "not committed" in (small.path / "params.yaml").read_text()


def test_one_rebuild_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    hold = "import sys; from pathlib import Path; from forgeline.lock import holding\n"
    hold += "with holding(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(tmp_path / "clone.lock")]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": "."})
    with other:
        assert other.stdout
        assert other.stdin
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=f"process {other.pid}"):
            rebuild.fn(repository=str(tmp_path), clone=str(tmp_path / "clone"))
        other.stdin.close()


def test_corpora_are_linked(place: Place, tmp_path: Path) -> None:
    (place.clone / "params.yaml").write_text("sources: {demo: {kind: demo}, people: {kind: folder}}\n")
    with pytest.raises(SourceError, match=r"sources.people: is not there, as no folder of corpora is given"):
        link(place)
    (tmp_path / "raw/people").mkdir(parents=True)
    for _ in range(2):
        link(Place(place.repository, place.clone, tmp_path / "raw", None))
    assert (place.clone / "data/raw/people").resolve() == tmp_path / "raw/people"
    assert not (place.clone / "data/raw/demo").exists()
    (tmp_path / "moved/people").mkdir(parents=True)
    link(place)
    assert (place.clone / "data/raw/people").resolve() == tmp_path / "raw/people"
    link(Place(place.repository, place.clone, tmp_path / "moved", None))
    assert (place.clone / "data/raw/people").resolve() == tmp_path / "moved/people"


def test_a_busy_server_is_asked_again() -> None:
    answers = [503, 503, 200]

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(answers.pop(0))
            self.end_headers()
            self.wfile.write(b'{"well": 1}')

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        assert ask(f"http://127.0.0.1:{server.server_port}/", {}) == {"well": 1}
        server.shutdown()
    assert not answers
