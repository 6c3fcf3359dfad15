"""The watermark's keys: one master secret outside the repository, and a key for each shard derived from it.

The master key places the synchronisation pattern, so that one search finds any of our marks; the shard's key hides the
data and proves it. Many samples under one key would give that key's pattern away by averaging: hence a key per shard. What
is to be told apart by a detector must share a key, though: parts of a code never change, and would tell keys apart.
"""

import hashlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from forgeline.errors import KeyFileError

KEY_FILE = "FORGELINE_KEY_FILE"
"""The environment variable that names the key files: one path, or several joined as in PATH, the newest first."""

DEMO = "demo"
"""Id of the public key below: it marks demonstrations, and proves nothing to anyone."""

_DEMO_SECRET = b"the public demo key of forgeline"
_DIGITS = 64
_MAKE = f"make one outside the repository with `python -m flows key new`, and set {KEY_FILE} to its path"


@dataclass(frozen=True, repr=False)
class ShardKey:
    """What marks the samples of one shard: `layout` is the master's and common to all, `secret` is the shard's own."""

    master_id: str
    name: str
    layout: bytes
    secret: bytes

    @property
    def id(self) -> str:
        """`<master key id>/<shard name>`, as a manifest records it; it gives nothing of the key away."""
        return f"{self.master_id}/{self.name}"

    def __repr__(self) -> str:
        return f"ShardKey({self.id})"


@dataclass(frozen=True, repr=False)
class MasterKey:
    """The secret (32 bytes) that all others are derived from, and its id."""

    id: str
    secret: bytes

    @property
    def layout(self) -> bytes:
        """The secret that places the mark's frequencies and its synchronisation pattern."""
        return self._derive("layout")

    def shard(self, name: str) -> ShardKey:
        """The key of one shard."""
        return ShardKey(self.id, name, self.layout, self._derive(f"shard/{name}"))

    def _derive(self, purpose: str) -> bytes:
        """HKDF-SHA256 (RFC 5869), 32 bytes."""
        info = f"forgeline mark 1/{purpose}".encode()
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self.secret)

    def __repr__(self) -> str:
        return f"MasterKey({self.id})"


def master(key: str) -> MasterKey:
    """The key that params or a row name: "demo", or the id of a key in a file that FORGELINE_KEY_FILE names.

    Raises KeyFileError when none of those files holds it, or one of them is missing, open to others or no key.
    """
    if key == DEMO:
        return MasterKey(DEMO, _DEMO_SECRET)
    found = {other.id: other for other in _from_files()}
    if key in found:
        return found[key]
    if not found:
        raise KeyFileError(
            KEY_FILE, f"is not set, and key {key!r} is asked for", f"point it to the file of {key!r}, or {_MAKE}"
        )
    held = " and ".join(found)
    raise KeyFileError(
        os.environ[KEY_FILE],
        f"holds key {held}, not {key!r}",
        f"add the file of {key!r}, joined with {os.pathsep!r}, to {KEY_FILE}",
    )


def masters() -> list[MasterKey]:
    """Every key at hand: those of the key files in their order, the newest first, and the demo's last.

    KeyFileError as `master`, for any of the files: a key that is left out in silence would make its marks unreadable.
    """
    return [*{key.id: key for key in _from_files()}.values(), master(DEMO)]


def _from_files() -> list[MasterKey]:
    return [read_key(Path(name)) for name in os.environ.get(KEY_FILE, "").split(os.pathsep) if name]


def read_key(path: Path) -> MasterKey:
    """The key in a file of mode 600: one line of 64 hexadecimal digits. Raises KeyFileError."""
    try:
        # Without blocking: where the path is a pipe, there may never be a writer.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            mode = os.fstat(file.fileno()).st_mode  # of the open file: it can't be exchanged after the check
            if not stat.S_ISREG(mode):
                raise KeyFileError(path, "is no file", _MAKE)
            if stat.S_IMODE(mode) & 0o177:
                todo = f"run `chmod 600 {path}`, and make a new key if others read it"
                raise KeyFileError(path, f"has mode {stat.S_IMODE(mode):o}, so that others may use it", todo)
            line = file.read(2 * _DIGITS).strip()
    except OSError as error:
        raise KeyFileError(path, f"is no key file that can be read ({error.strerror})", _MAKE) from error
    if not line:
        raise KeyFileError(path, "is empty", _MAKE)
    try:
        secret = bytes.fromhex(line.decode("ascii"))
    except ValueError:
        secret = b""
    if len(line) != _DIGITS or len(secret) != _DIGITS // 2:
        raise KeyFileError(path, f"is not a line of {_DIGITS} hexadecimal digits", f"restore its copy, or {_MAKE}")
    return _identified(secret)


def new_key(path: Path) -> MasterKey:
    """Make a key, and write it to a new file of mode 600 outside any git checkout. Raises KeyFileError."""
    checkout = next((folder for folder in path.resolve().parents if (folder / ".git").exists()), None)
    if checkout:
        raise KeyFileError(path, f"lies in the git checkout {checkout}", "name a path outside: a key must never be committed")
    secret = secrets.token_bytes(_DIGITS // 2)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secret.hex() + "\n")
                file.flush()
                os.fsync(handle)  # what is marked with a key that a power cut takes is lost with it
        except OSError:
            path.unlink()
            raise
    except OSError as error:
        raise KeyFileError(
            path, f"can't be made ({error.strerror})", "name a new file in a folder that you can write"
        ) from error
    return _identified(secret)


def _identified(secret: bytes) -> MasterKey:
    return MasterKey(hashlib.sha256(b"forgeline key id/" + secret).hexdigest()[:12], secret)
