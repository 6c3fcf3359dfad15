"""A checkout of this very code, built once with the tiny params, and what tests do with such checkouts."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from forgeline.compute import one_thread

ROOT = Path(__file__).resolve().parents[1]

one_thread()  # as the factory's own commands do, before NumPy is there: the bytes of its products depend on it


@dataclass(frozen=True)
class Checkout:
    """A git checkout with its own data; commands run in it as a user's would."""

    path: Path
    env: dict[str, str]

    def run(self, *command: str, fails: bool = False, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; unless `fails`, it must succeed."""
        done = subprocess.run(command, cwd=self.path, env=self.env | env, capture_output=True, text=True, timeout=1800)
        said = f"{' '.join(command)}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        assert (done.returncode != 0) == fails, said
        return done

    def repro(self, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run("dvc", "repro", **env)

    def flows(self, *arguments: str, fails: bool = False, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run("python", "-m", "flows", *arguments, fails=fails, **env)

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message", message)

    def lock(self) -> dict[str, Any]:
        """What dvc.lock says of each stage that the graph has now."""
        stages = yaml.safe_load((self.path / "dvc.lock").read_text())["stages"]
        there = self.run("dvc", "stage", "list", "--name-only").stdout.split()
        return {name: stages[name] for name in there}

    def params(self) -> dict[str, Any]:
        value: dict[str, Any] = yaml.safe_load((self.path / "params.yaml").read_text())
        return value

    def set_params(self, value: dict[str, Any]) -> None:
        (self.path / "params.yaml").write_text(yaml.safe_dump(value, sort_keys=False))


def user_env(home: Path) -> dict[str, str]:
    """The environment of a user for whom nothing is configured, with the caches of this machine's weights."""
    # Without bytecode each of a build's stages would compile all the code again, a third of a second at a time.
    configured = ("PREFECT", "DVC", "GIT_", "FORGELINE_KEY", "PYTEST", "PYTHONDONTWRITEBYTECODE")
    env = {k: v for k, v in os.environ.items() if not k.startswith(configured)}
    return env | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}",
        "PYTHONPATH": "",
        "DVC_SITE_CACHE_DIR": str(home / "dvc-site"),
        "DVC_GLOBAL_CONFIG_DIR": str(home / "dvc-global"),
        "DVC_NO_ANALYTICS": "1",
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@localhost",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@localhost",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(home / "hf"),
    }


def new_checkout(path: Path) -> Checkout:
    """This code as it lies here, committed to a repository of its own, with the tiny params."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and name != "dvc.lock":
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    shutil.copy2(ROOT / "params.tiny.yaml", path / "params.yaml")
    checkout = Checkout(path, user_env(path.parent))
    checkout.run("git", "init", "--quiet", "--initial-branch", "main")
    checkout.commit("Copy the code under test")
    return checkout


def copied(checkout: Checkout, path: Path, data: Sequence[str] = ("data", ".dvc", "dvc.lock")) -> Checkout:
    """A clone of a checkout at `path`, with these of its files that git doesn't hold."""
    checkout.run("git", "clone", "--quiet", str(checkout.path), str(path))
    for name in data:
        if (checkout.path / name).is_dir():
            shutil.copytree(checkout.path / name, path / name, dirs_exist_ok=True)
        elif (checkout.path / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout.path / name, path / name)
    return Checkout(path, user_env(path.parent))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with the tiny dataset built by `dvc repro` and two workers. Shared by all tests: don't change it."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    path = shared / "tiny" / "checkout"
    with FileLock(shared / "tiny.lock"):
        if not (path / "built").exists():
            path.mkdir(parents=True)
            new_checkout(path).repro(FORGELINE_WORKERS="2")
            (path / "built").touch()
            with (path / ".git/info/exclude").open("a") as exclude:
                exclude.write("/built\n")
    return Checkout(path, user_env(path.parent))


@pytest.fixture
def clone(tiny: Checkout, tmp_path: Path) -> Checkout:
    """A clone of the tiny checkout with its built data, to change."""
    return copied(tiny, tmp_path / "clone")
