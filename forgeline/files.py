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
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def prune(folder: Path, keep: set[Path]) -> list[Path]:
    """Delete every file under `folder` that is not in `keep`, and folders left empty; give what was deleted, sorted."""
    gone = sorted(p for p in folder.rglob("*") if (p.is_file() or p.is_symlink()) and p not in keep)
    for path in gone:
        path.unlink()
    for path in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
    return gone
