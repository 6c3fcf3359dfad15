"""`rebuild`: build the dataset anew from what was last committed, and publish it as a version. Made for a schedule.

It works in a clone of its own, which stays between runs, and never in anyone's checkout: fetch → `dvc pull` → scan →
`dvc repro` → sign → push → commit → tag → git push. A step that fails ends it: nothing after it happens, so that a build which
does not pass its gate pushes nothing and leaves no tag.
"""

import hashlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from platformdirs import user_data_path
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import workspace
from flows.command import PYTHON, environment, output, run
from flows.stage_flows import API, require_server
from forgeline.errors import FactoryError, SourceError
from forgeline.lock import holding
from watermark.credentials import CERTIFICATES

CLONE = "FORGELINE_CLONE"
"""The environment variable that names the clone's folder."""
_OURS = "forgeline.rebuild"
"""Set in the git config of a clone that this module made: any other is somebody's checkout, and is left alone."""
_PULLED = "refs/forgeline/pulled"
"""The commit whose data were last pulled into the clone."""
_AUTHOR = ("-c", "user.name=Forgeline rebuild", "-c", "user.email=forgeline@localhost")
_LOCK, _SIGNING_LOCK = "dvc.lock", "signing/dvc.lock"


@dataclass(frozen=True)
class Place:
    """Where a rebuild works, and with what."""

    repository: str
    clone: Path
    raw: Path | None
    remote: str | None


@flow(name="rebuild", log_prints=True)
def rebuild(repository: str | None = None, clone: str | None = None, raw: str | None = None, remote: str | None = None) -> None:
    """Rebuild the dataset and publish it as a version.

    Args:
        repository: What to clone and to push to; by default the `origin` of the checkout that the worker runs in.
        clone: The folder of the clone; by default FORGELINE_CLONE, or a folder of the user's data.
        raw: The folder in which corpora lie, each under its name in params; the demo needs none.
        remote: The DVC remote to push to, where it isn't the default one.
    """
    folder = clone or os.environ.get(CLONE) or user_data_path("forgeline", False) / "clone"
    place = Place(
        repository=_absolute(repository or output(["git", "remote", "get-url", "origin"])),
        clone=Path(folder).expanduser().absolute(),
        raw=Path(raw).expanduser().absolute() if raw else None,
        remote=remote,
    )
    with holding(place.clone.with_name(f"{place.clone.name}.lock"), wait=False):
        for step in (refresh, pull, link, scan, repro, sign, push, publish):
            _as_task(step)(place)


def rebuild_now() -> None:
    """Rebuild with the default settings, as a flow run where there is a server, else without Prefect's part in it."""
    if os.environ.get(API):
        require_server()
        rebuild()
    else:
        rebuild.fn()


def _absolute(repository: str) -> str:
    return str(Path(repository).absolute()) if Path(repository).exists() else repository


def _as_task(step: Callable[[Place], None]) -> Callable[[Place], Any]:
    """The step as a task, where there is a server. Those that go over a network are tried again; `push` does so itself."""
    if not os.environ.get(API):
        return step
    retries = 2 if step in (refresh, pull, publish) else 0
    return task(name=step.__name__, log_prints=True, retries=retries, retry_delay_seconds=10, cache_policy=NO_CACHE)(step)


def refresh(place: Place) -> None:
    """Have the clone at the newest commit of the repository's branch. Data stay as they are."""
    if not (place.clone / ".git").exists():
        run(["git", "clone", "--config", f"{_OURS}=true", place.repository, str(place.clone)])
    elif not _succeeds(["git", "config", "--get", _OURS], place.clone):
        raise FactoryError(place.clone, "is a checkout that rebuild did not make", f"name another folder in {CLONE}")
    run(["git", "remote", "set-url", "origin", place.repository], place.clone)
    run(["git", "fetch", "--prune", "--prune-tags", "origin"], place.clone)
    run(["git", "reset", "--hard", "origin/HEAD"], place.clone)


def pull(place: Place) -> None:
    """Pull what others built, and what is not here, where the remote has it.

    Not all that differs: after a build that was stopped, `dvc pull` either refuses, or with --force deletes what it made.
    """
    wanted = [*_behind(place, _LOCK), *_behind(place, _SIGNING_LOCK)]
    if wanted:
        run(["dvc", "pull", "--allow-missing", "--force", *wanted], place.clone)
    output(["git", "update-ref", _PULLED, "HEAD"], place.clone)


def _behind(place: Place, lock: str) -> list[str]:
    """The stages of a lock, as DVC names them, whose outputs others built since the last pull, or that are not here."""
    pipeline = lock.replace(".lock", ".yaml")
    if not (place.clone / lock).exists() or not (place.clone / pipeline).exists():
        return []
    there = _outputs((place.clone / lock).read_text())
    known = _succeeds(["git", "cat-file", "-e", f"{_PULLED}:{lock}"], place.clone)
    before = _outputs(output(["git", "show", f"{_PULLED}:{lock}"], place.clone)) if known else {}
    kept = _never_pushed(yaml.safe_load((place.clone / pipeline).read_text(encoding="utf-8")))
    named = {
        name.split(":")[-1]: name for name in output(["dvc", "stage", "list", "--name-only", pipeline], place.clone).split()
    }
    return [
        name
        for stage, name in named.items()
        if stage in there
        and stage.split("@")[0] not in kept
        and (there[stage] != before.get(stage) or not all((place.clone / path).exists() for path in there[stage]))
    ]


def _outputs(lock: str) -> dict[str, dict[str, str]]:
    """Of a dvc.lock: stage → path → hash."""
    stages = (yaml.safe_load(lock) or {}).get("stages", {})
    return {name: {out["path"]: out["md5"] for out in stage.get("outs", ())} for name, stage in stages.items()}


def _never_pushed(graph: dict[str, Any]) -> set[str]:
    """The stages of a dvc.yaml with an output that no remote has."""
    outs = {name: stage.get("do", stage).get("outs", ()) for name, stage in graph["stages"].items()}
    settings = {name: [s for out in some if isinstance(out, dict) for s in out.values()] for name, some in outs.items()}
    return {name for name, some in settings.items() if any(s.get("push") is False for s in some)}


def link(place: Place) -> None:
    """Link the corpora that the clone's params list into its data/raw."""
    params = yaml.safe_load((place.clone / "params.yaml").read_text(encoding="utf-8"))
    for name, settings in params.get("sources", {}).items():
        path = place.clone / workspace.RAW / name
        if settings.get("kind") == "demo" or (path.is_dir() and not (path.is_symlink() and place.raw)):
            continue
        if place.raw is None or not (place.raw / name).is_dir():
            at = f"in {place.raw}" if place.raw else "as no folder of corpora is given"
            raise SourceError(f"sources.{name}", f"is not there, {at}", f"set rebuild's parameter raw to a folder with {name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a link that leads nowhere, or to where corpora lay before
        path.symlink_to(place.raw / name)


def scan(place: Place) -> None:
    """Take the inventories of the corpora."""
    run([PYTHON, "-m", "flows", "scan"], place.clone)


def repro(place: Place) -> None:
    """Build what is not up to date. The release refuses what its audit failed: that is the gate.

    It is planned anew each time, since consents and agreements end by the day, which DVC does not know of. An equal plan
    leaves all that follows from it as it is.
    """
    run(["dvc", "repro", "plan"], place.clone)
    run(["dvc", "repro", "--single-item", "--force", "plan"], place.clone)
    run(["dvc", "repro"], place.clone)


def sign(place: Place) -> None:
    """Sign the release, where a certificate is configured. What did not change keeps the signature it has."""
    if os.environ.get(CERTIFICATES):
        run(["dvc", "repro", "--single-item", "--force", _SIGNING_LOCK.replace(".lock", ".yaml")], place.clone)


def push(place: Place) -> None:
    """Look at audit, terms and key once more, and send the data."""
    run([PYTHON, "-m", "flows", "push", *(["--remote", place.remote] if place.remote else [])], place.clone)


def publish(place: Place) -> None:
    """Commit what was built, tag it, and push both or neither. What has a tag already gets no other.

    A tag is named after what the locks say: after dvc.lock alone where nothing is signed.
    """
    git = ("git", *_AUTHOR)
    built = [path for path in (_LOCK, _SIGNING_LOCK, str(workspace.INVENTORY)) if (place.clone / path).exists()]
    run([*git, "add", "--all", "--", *built], place.clone)
    if not _succeeds(["git", "diff", "--cached", "--quiet"], place.clone):
        run([*git, "commit", "--quiet", "--message", "Rebuild the dataset"], place.clone)
    locks = [place.clone / path for path in (_LOCK, _SIGNING_LOCK) if (place.clone / path).exists()]
    short = hashlib.sha256(b"".join(path.read_bytes() for path in locks)).hexdigest()[:12]
    tag = output(["git", "tag", "--list", f"v*-{short}"], place.clone)
    if tag:
        print(f"what was built is {tag}: no new tag")
    else:
        tag = f"v{datetime.now(UTC):%Y.%m.%d}-{short}"
        run([*git, "tag", "--annotate", "--message", f"Dataset {tag}", tag], place.clone)
    branch = output(["git", "rev-parse", "--abbrev-ref", "HEAD"], place.clone)
    run(["git", "push", "--atomic", "origin", f"HEAD:refs/heads/{branch}", f"refs/tags/{tag}"], place.clone)


def _succeeds(command: list[str], cwd: Path) -> bool:
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, check=False).returncode == 0
