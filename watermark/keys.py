"""The watermark's keys: one master secret outside the repository, and a key for each shard derived from it.

The master key places the synchronisation pattern, so that one search finds any of our marks; the shard's key hides the
data and proves it. Many samples under one key would give that key's pattern away by averaging: hence a key per shard.
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
"""The environment variable that names the key file."""

DEMO = "demo"
"""Id of the public key below: it marks demonstrations, and proves nothing to anyone."""

_DEMO_SECRET = b"the public demo key of forgeline"
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
    """The key that params name: "demo", or the id of the key in the file that FORGELINE_KEY_FILE names.

    Raises KeyFileError when that file is missing, open to others, no key, or another key.
    """
    if key == DEMO:
        return MasterKey(DEMO, _DEMO_SECRET)
    name = os.environ.get(KEY_FILE)
    if not name:
        raise KeyFileError(
            KEY_FILE, f"is not set, and key {key!r} is asked for", f"point it to the file of {key!r}, or {_MAKE}"
        )
    found = read_key(Path(name))
    if found.id != key:
        raise KeyFileError(name, f"holds key {found.id}, not {key!r}", f"set {KEY_FILE} to the file of {key!r}")
    return found


def read_key(path: Path) -> MasterKey:
    """The key in a file of mode 600: one line of 64 hexadecimal digits. Raises KeyFileError."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode  # of the open file: it can't be exchanged after the check
            text = file.read(100).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(path, f"is no key file that can be read ({error})", _MAKE) from error
    if not stat.S_ISREG(mode) or stat.S_IMODE(mode) & 0o177:
        raise KeyFileError(
            path, f"has mode {stat.S_IMODE(mode):o}", f"run `chmod 600 {path}`, and make a new key if others read it"
        )
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise KeyFileError(path, "is not a line of 64 hexadecimal digits", _MAKE)
    return _identified(secret)


def new_key(path: Path) -> MasterKey:
    """Make a key, and write it to a new file of mode 600 outside any git checkout. Raises KeyFileError."""
    checkout = next((folder for folder in path.resolve().parents if (folder / ".git").exists()), None)
    if checkout:
        raise KeyFileError(path, f"lies in the git checkout {checkout}", "name a path outside: a key must never be committed")
    secret = secrets.token_bytes(32)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise KeyFileError(
            path, f"can't be made ({error.strerror})", "name a new file in a folder that you can write"
        ) from error
    with os.fdopen(file, "w", encoding="ascii") as out:
        out.write(secret.hex() + "\n")
    return _identified(secret)


def _identified(secret: bytes) -> MasterKey:
    return MasterKey(hashlib.sha256(b"forgeline key id/" + secret).hexdigest()[:12], secret)
