"""Which files a corpus has: the small, versioned record that stands for a tree of perhaps 500 GB.

`scan` writes it, and from then on the corpus is what the inventory says: adapters name files by it, never by listing.
One JSON line a file, sorted by path: `{"bytes":…,"path":…,"sha256":…}`, or `{"path":…,"reason":…}` for an entry that
can't be used (a link that leaves the corpus, a device, a name that is not text). The corpus's own folder may be a link.
Files that are still being written, named as `forgeline.files` names such, are left out.
"""

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from forgeline.errors import SourceError
from forgeline.files import PART, replacing
from forgeline.recipe import canonical

Progress = Callable[[str, int], None]
"""Told of each file as it is done: its path, and how many bytes were read for it (0 when nothing had changed)."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_RESCAN = "run python -m flows scan again"


@dataclass(frozen=True)
class File:
    """One regular file: `path` relative to the corpus, with `/`; its size in bytes; its SHA-256 in hexadecimal."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Inventory:
    """All of a corpus: `files` by path, and `refused` (path → reason), both in order of path."""

    files: dict[str, File]
    refused: dict[str, str]


@dataclass(frozen=True)
class _Seen:
    """A line of the cache: what a file was when it was hashed."""

    file: File
    modified_ns: int

    @property
    def settled(self) -> bool:
        """File systems' clocks are coarse: what was written just now could change again without a new time."""
        return time.time_ns() - self.modified_ns > 2_000_000_000

    def line(self) -> str:
        return canonical({**asdict(self.file), "modified_ns": self.modified_ns}) + "\n"


def scan(root: Path, out: Path, cache: Path, progress: Progress = lambda path, read: None) -> Inventory:
    """Walk the corpus at `root`, hash what changed since the last scan, and write the inventory to `out`.

    `cache` is local and can be deleted at any time: it remembers sizes, modification times and hashes, and keeps what
    an interrupted scan has done. A link to a file inside the corpus counts as that file; a link to a folder, or to
    anything outside, is refused with a reason. SourceError when something can't be read, or changes meanwhile.
    """
    if not root.is_dir():
        raise SourceError(root, "there is no such folder", "put the corpus there, or a link to where it lies")
    known = _load_cache(cache)
    seen: list[_Seen] = []
    refused: dict[str, str] = {}
    cache.parent.mkdir(parents=True, exist_ok=True)
    with cache.open("a", encoding="utf-8") as journal:
        for path, found in _walk(root.resolve()):
            if isinstance(found, str):
                refused[path] = found
                continue
            now = _status(found)
            entry = known.get(path)
            if entry is None or (entry.file.bytes, entry.modified_ns) != (now.st_size, now.st_mtime_ns):
                entry = _hash(path, found)
                if entry.settled:
                    journal.write(entry.line())
                    journal.flush()
                progress(path, entry.file.bytes)
            else:
                progress(path, 0)
            seen.append(entry)
    seen.sort(key=lambda entry: entry.file.path)
    inventory = Inventory({entry.file.path: entry.file for entry in seen}, dict(sorted(refused.items())))
    _replace(out, _lines(inventory))
    _replace(cache, (entry.line() for entry in seen if entry.settled))
    return inventory


def load(path: Path) -> Inventory:
    """Read an inventory back. SourceError where it is missing, or holds anything that `scan` does not write."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(path, f"the inventory can't be read ({error})", "run python -m flows scan") from error
    files: dict[str, File] = {}
    refused: dict[str, str] = {}
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        match _record(line):
            case {"path": str(name), "bytes": int(size), "sha256": str(sha256)} if (
                type(size) is int and size >= 0 and _SHA256.fullmatch(sha256) and _odd(name) is None
            ):
                files[name] = File(name, size, sha256)
            case {"path": str(name), "reason": str(reason)}:
                refused[name] = reason
            case _:
                raise SourceError(f"{path}:{number}", "not a line of an inventory", _RESCAN)
    inventory = Inventory(files, refused)
    if "".join(_lines(inventory)) != text:
        raise SourceError(path, "lines are doubled, out of order, cut or edited", _RESCAN)
    return inventory


def _lines(inventory: Inventory) -> Iterator[str]:
    for path in sorted([*inventory.files, *inventory.refused]):
        reason = inventory.refused.get(path)
        entry = {"path": path, "reason": reason} if reason is not None else asdict(inventory.files[path])
        yield canonical(entry) + "\n"


def _walk(home: Path) -> Iterator[tuple[str, Path | str]]:
    """Every entry below `home`, with where to read it or why it is refused; refused folders are not entered."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            names = sorted(os.listdir(home / folder))
        except OSError as error:
            raise SourceError(home / folder, f"can't be listed ({error.strerror})", "give read access to it") from error
        for name in names:
            if name.startswith(PART):
                continue
            path = f"{folder}/{name}" if folder else name
            odd = _odd(path)
            if odd is not None:
                yield _escaped(path), odd
                continue
            mode = _status(home / path, follow=False).st_mode
            if stat.S_ISDIR(mode):
                folders.append(path)
            elif stat.S_ISLNK(mode):
                yield path, _follow(home, path)
            elif stat.S_ISREG(mode):
                yield path, home / path
            else:
                yield path, "neither a file nor a folder"


def _status(path: Path, follow: bool = True) -> os.stat_result:
    try:
        return os.stat(path, follow_symlinks=follow)
    except OSError as error:
        what = f"it went while the corpus was read, or can't be reached ({error.strerror})"
        raise SourceError(path, what, f"leave the corpus alone and {_RESCAN}") from error


def _follow(home: Path, path: str) -> Path | str:
    try:
        target = (home / path).resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: Python 3.11 and 3.12 on a link that leads to itself
        return "a link that leads nowhere"
    if not target.is_relative_to(home):
        return "a link that leaves the corpus"
    return target if target.is_file() else "a link to a folder"


def _odd(path: str) -> str | None:
    """What is wrong with a relative path, or None. Such names can't be written, printed or joined without surprises."""
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "not a plain relative path"
    if "\\" in path or not path.isprintable():  # bytes that are no UTF-8 arrive as surrogates, which are not printable
        return "its name holds a backslash, or characters that can't be printed"
    return None


def _escaped(path: str) -> str:
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in path)


def _hash(path: str, real: Path) -> _Seen:
    try:
        with real.open("rb") as file:
            before = os.fstat(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
    except OSError as error:
        raise SourceError(real, f"can't be read ({error.strerror})", "give read access to it, or check the disk") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise SourceError(real, "it changed while it was read", f"leave the corpus alone and {_RESCAN}")
    return _Seen(File(path, after.st_size, sha256), after.st_mtime_ns)


def _load_cache(cache: Path) -> dict[str, _Seen]:
    """The cache's entries; the last of a path wins, and lines that a kill cut short are passed over."""
    known: dict[str, _Seen] = {}
    if not cache.is_file():
        return known
    for line in cache.read_bytes().split(b"\n"):
        match _record(line):
            case {"path": str(path), "bytes": int(size), "sha256": str(sha256), "modified_ns": int(modified)}:
                known[path] = _Seen(File(path, size, sha256), modified)
    return known


def _record(line: str | bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _replace(path: Path, lines: Iterable[str]) -> None:
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)
