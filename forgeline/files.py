"""Files that are either whole or not there."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forgeline.errors import FactoryError

PART = ".part-"
"""How the name of an unfinished file begins; whatever bears it after a crash may be deleted."""

_SMALL = 1 << 16


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path in the same folder to write to; when the block ends well, the file is flushed to disk and takes `path`'s place.

    When it doesn't, nothing is left behind and an older file stays. A full disk is a FactoryError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{PART}{os.getpid()}-{path.name}")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise FactoryError(path, "could not be written: the disk is full", "free some space and run again") from error
        raise
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as a whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb", buffering=0) as file:
        first = file.read(_SMALL)
        if len(first) < _SMALL:  # by far the most; `file_digest` makes a buffer of 256 KiB for each
            return hashlib.sha256(first).hexdigest()
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def prune(folder: Path, keep: set[Path]) -> list[Path]:
    """Delete every file under `folder` that is not in `keep`, and folders left empty; give what was deleted, sorted.

    One walk, by what the folders themselves say of their entries: a corpus has 100 000 of them.
    """
    kept = {os.fspath(path) for path in keep}
    gone: list[Path] = []

    def emptied(at: str) -> bool:
        """Prune one folder; whether nothing is left in it."""
        left = False
        with os.scandir(at) as found:
            entries = list(found)  # before any of them is deleted
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if emptied(entry.path):
                    os.rmdir(entry.path)
                else:
                    left = True
            elif entry.path not in kept and (entry.is_file() or entry.is_symlink()):
                os.unlink(entry.path)
                gone.append(Path(entry.path))
            else:
                left = True
        return not left

    if folder.is_dir():
        emptied(os.fspath(folder))
    return sorted(gone)
