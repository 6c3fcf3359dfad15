"""Folders of nets that a team brings, as diffusers and transformers write them: checked against their hash, and opened offline.

Whatever a folder holds that could run code is refused: pickles, Python, classes of other libraries. Only safetensors are read.
Run `python -m forgeline.model_folder FOLDER` for the lines that params have to say of a folder.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from forgeline.errors import FactoryError, WeightsError
from forgeline.files import sha256_of
from forgeline.section import Section
from forgeline.uses import Uses

PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
CODE = frozenset({".dll", ".dylib", ".py", ".pyc", ".pyd", ".so"})
TO_COPY = "copy the whole folder again, as its publisher offers it"


class GivenFolder(Section):
    """A folder with a net that a team brings: it has the rights to it, and knows its hash."""

    folder: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
    """Name of the folder, which lies in `FORGELINE_WEIGHTS`."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Hash of all that it holds: `python -m forgeline.model_folder FOLDER` tells it."""
    licence: Annotated[str, Field(pattern=r"\S")]
    """Under what terms the team may use it."""
    permitted_use: Uses = ("detection", "research")
    """What its licence permits with what is made by it."""


def given_folder(given: GivenFolder) -> Path:
    """The checked folder. Raises WeightsError where it is not there, has another hash or holds what is never opened here."""
    root = os.environ.get("FORGELINE_WEIGHTS")
    folder = Path(root or ".") / given.folder
    if not root or not folder.is_dir():
        raise WeightsError(given.folder, "is not on this machine", "set FORGELINE_WEIGHTS to the folder that holds it")
    _check(folder, given.sha256)
    return folder


def tree_sha256(folder: Path) -> str:
    """SHA-256 over a line `<SHA-256 of the file>  <its path below the folder>` for each file, sorted by the paths' bytes.

    What begins with a dot is no part of it (a downloader's notes) and is never read. Raises WeightsError for a folder that
    holds what is never opened here.
    """
    _check_files(folder)
    names = sorted(path.relative_to(folder).as_posix().encode() for path in _files(folder))
    lines = (sha256_of(folder / name.decode()).encode() + b"  " + name + b"\n" for name in names)
    return hashlib.sha256(b"".join(lines)).hexdigest()


@cache
def _check(folder: Path, sha256: str) -> None:
    """Once a process, as it reads all that a folder holds. Raises WeightsError."""
    if (found := tree_sha256(folder)) != sha256:
        todo = "copy it again; or, if it is the right one, let `python -m forgeline.model_folder FOLDER` tell its params"
        raise WeightsError(folder, f"has SHA-256 {found[:16]}…, not {sha256[:16]}…", todo)


@contextmanager
def offline() -> Iterator[None]:
    """A block in which the libraries never ask the hub, whoever imported them before."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # read at the import; no part of the factory ever asks that hub
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _files(folder: Path) -> Iterator[Path]:
    """All files and links; the folder may itself be a link."""
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        else:
            yield path


def _check_files(folder: Path) -> None:
    """Raises WeightsError for links, and for what could run code."""
    for path in sorted(_files(folder)):
        if path.is_symlink():
            raise WeightsError(path, "is a link, so the folder doesn't hold what it names", "copy the folder with `cp -rL`")
        if path.suffix in PICKLES:
            todo = "take it out, and put its weights there as .safetensors if they are not there yet"
            raise WeightsError(path, "is a pickle, which can run code when it is read", todo)
        if path.suffix in CODE:
            raise WeightsError(path, "is code, which is never run", "take it out, or give a net of the libraries' own classes")
        if path.suffix == ".json" and "auto_map" in read_json(path):
            todo = "give a net of diffusers' or transformers' own classes"
            raise WeightsError(path, "asks for code of its own (auto_map), which is never run", todo)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's keys; none where it is a list. Raises WeightsError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise WeightsError(path, f"is no JSON ({' '.join(str(error).split())[:300]})", TO_COPY) from error
    return value if isinstance(value, dict) else {}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args().folder
    try:
        if not chosen.is_dir():
            raise WeightsError(chosen, "is no folder", "name the folder that holds config.json")
        digest = tree_sha256(chosen)
    except FactoryError as error:
        parser.exit(error.exit_code, f"{error}\n")
    print(f"folder: {chosen.resolve().name}\nsha256: {digest}\nlicence: <what your team was granted>")
