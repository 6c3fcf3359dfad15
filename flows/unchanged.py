"""Whether a stage's output lies as it was left, and all that it was made from is the same: then nothing is opened again.

What is remembered is of this machine alone (`.forgeline/done`): sizes and times of files, as git's index has them. Files that
were restored, copied or changed have other times, and are then looked at one by one (`flows.items`).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows import workspace
from forgeline.files import write_text
from forgeline.recipe import digest


def is_unchanged(stage: str, made_by: Any, folder: Path) -> bool:
    """Whether `remember` was called of this stage with this folder just as it lies there, and with the same `made_by`."""
    try:
        return _done(stage).read_text(encoding="utf-8") == _state(made_by, folder)
    except OSError:
        return False


def remember(stage: str, made_by: Any, folder: Path) -> None:
    """That a stage has finished: `made_by`, JSON values, is all that its output hangs on."""
    write_text(_done(stage), _state(made_by, folder))


def forget(stage: str) -> None:
    """That a stage has begun."""
    _done(stage).unlink(missing_ok=True)


def _done(stage: str) -> Path:
    return workspace.LOCAL / "done" / f"{stage}.txt"


def _state(made_by: Any, folder: Path) -> str:
    return digest([made_by, sorted(_files(os.fspath(folder)))]) + "\n"


def _files(folder: str) -> Iterator[tuple[str, int, int, int]]:
    """Path, bytes, time and number of every file below a folder. Raises OSError where there is no such folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            else:
                told = entry.stat()
                yield entry.path, told.st_size, told.st_mtime_ns, told.st_ino
