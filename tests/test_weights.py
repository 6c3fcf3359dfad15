"""Model files: looked up, fetched and checked. Nothing leaves the machine: wheels and servers are made on the spot."""

import hashlib
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from forgeline.errors import WeightsError
from forgeline.weights import WEIGHTS, Address, Given, ModelFile, Wheel, given_weights, weights, weights_sha256

CONTENT = bytes(range(256)) * 64
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FORMATS = {".safetensors", ".onnx", ".tflite", ".pt", ".pth", ".model"}
"""Of the last three, pickles, only tensors are read (`weights_only`)."""


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT; /broken.onnx ends early the first time, /other.onnx is something else, /gone.onnx is missing."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/gone.onnx":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        cut = self.path == "/broken.onnx" and self.asked.count(self.path) == 1
        body = CONTENT[::-1] if self.path == "/other.onnx" else CONTENT
        self.wfile.write(body[: 1000 if cut else None])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("FORGELINE_WEIGHTS", raising=False)
    monkeypatch.setenv("FORGELINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    (tmp_path / "links").mkdir()
    Server.asked.clear()
    return tmp_path / "cache" / "weights"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def add(name: str, origin: Address | Wheel, sha256: str = DIGEST, size: int | None = len(CONTENT)) -> None:
        monkeypatch.setitem(WEIGHTS, name, ModelFile(f"{name}.onnx", sha256, size, "CC0-1.0", origin))

    return add


def make_wheel(folder: Path, members: dict[str, bytes]) -> None:
    info = "tiny_models-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny_models-1.0-py3-none-any.whl", "w") as wheel:
        for name, content in members.items():
            wheel.writestr(name, content)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-models\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def member(name: str) -> Wheel:
    return Wheel("tiny-models==1.0", "3.11", "manylinux_2_28_x86_64", name)


@pytest.mark.parametrize("name", WEIGHTS)
def test_table_is_complete(name: str) -> None:
    row = WEIGHTS[name]
    assert Path(row.file).suffix in FORMATS
    assert re.fullmatch("[0-9a-f]{8,64}", row.sha256_prefix)
    assert row.size is None or row.size > 0
    assert row.licence
    assert isinstance(row.origin, Wheel) or row.origin.url.startswith("https://")
    whole = len(row.sha256_prefix) == 64
    assert whole or row.sha256_prefix in row.file, "a short hash is one that the publisher put into the file's name"


def test_the_users_folder_comes_first(
    cache: Path, model: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    model("model", Address(f"{address}/model.onnx"))
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    given = tmp_path / "model.onnx"
    given.write_bytes(CONTENT)
    assert weights("model") == given
    assert not cache.exists()
    given.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(WeightsError, match=r"model\.onnx: has SHA-256 .*replace it"):
        weights("model")
    assert given.exists(), "the user's file is the user's to remove"
    given.unlink()
    assert weights("model") == cache / "model.onnx"


def test_download_is_checked_and_kept(cache: Path, model: Callable[..., None], address: str) -> None:
    model("model", Address(f"{address}/model.onnx"), sha256=DIGEST[:8], size=None)
    assert weights("model") == weights("model") == cache / "model.onnx"
    assert weights("model").read_bytes() == CONTENT
    assert weights_sha256("model") == DIGEST
    assert Server.asked == ["/model.onnx"]


def test_spoilt_cache_is_fetched_again(cache: Path, model: Callable[..., None], address: str) -> None:
    model("model", Address(f"{address}/model.onnx"))
    for spoilt in (CONTENT[:-1], CONTENT[::-1], b""):
        weights("model").write_bytes(spoilt)
        assert weights("model").read_bytes() == CONTENT
    assert len(Server.asked) == 4


def test_broken_connection_is_tried_again(cache: Path, model: Callable[..., None], address: str) -> None:
    model("broken", Address(f"{address}/broken.onnx"))
    assert weights("broken").read_bytes() == CONTENT
    assert Server.asked == ["/broken.onnx"] * 2


@pytest.mark.parametrize(
    ("name", "said"), [("other", "has SHA-256"), ("gone", "can't be fetched .*404.*set FORGELINE_WEIGHTS")]
)
def test_what_is_not_the_file_never_lands(cache: Path, model: Callable[..., None], address: str, name: str, said: str) -> None:
    model(name, Address(f"{address}/{name}.onnx"))
    with pytest.raises(WeightsError, match=said):
        weights(name)
    assert Server.asked == [f"/{name}.onnx"], "a wrong answer is not asked for again"
    assert list(cache.iterdir()) == []


def test_nobody_answers(cache: Path, model: Callable[..., None], address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forgeline.weights.ATTEMPTS", 1)
    model("model", Address("http://127.0.0.1:9/model.onnx"))
    with pytest.raises(WeightsError, match=r"can't be fetched .*refused.*get http://127"):
        weights("model")


def test_wheel_gives_all_its_models_at_once(cache: Path, model: Callable[..., None], tmp_path: Path) -> None:
    make_wheel(tmp_path / "links", {"tiny/a": CONTENT, "tiny/b": CONTENT[::-1]})
    model("a", member("tiny/a"))
    model("b", member("tiny/b"), sha256=hashlib.sha256(CONTENT[::-1]).hexdigest())
    assert weights("a").read_bytes() == CONTENT
    assert sorted(path.name for path in cache.iterdir()) == ["a.onnx", "b.onnx"]
    (tmp_path / "links" / "tiny_models-1.0-py3-none-any.whl").unlink()
    assert weights("b").read_bytes() == CONTENT[::-1]


def test_wrong_file_in_the_wheel(cache: Path, model: Callable[..., None], tmp_path: Path) -> None:
    make_wheel(tmp_path / "links", {"tiny/a": CONTENT[::-1]})
    model("a", member("tiny/a"))
    with pytest.raises(WeightsError, match=r"what came from tiny-models==1\.0 has SHA-256"):
        weights("a")
    assert list(cache.iterdir()) == []


def test_no_index(cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"pip can't get mediapipe==0\.10\.21 .*FORGELINE_WEIGHTS") as caught:
        weights("face_mesh")
    assert "\n" not in str(caught.value)


def test_cache_that_cannot_be_written(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("FORGELINE_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"can't be written .*FORGELINE_CACHE"):
        weights("face_mesh")


def test_processes_fetch_at_once(cache: Path, address: str) -> None:
    script = (
        "from forgeline.weights import *\n"
        f"WEIGHTS['model'] = ModelFile('model.onnx', '{DIGEST}', None, '', Address('{address}/model.onnx'))\n"
        "print(weights_sha256('model'))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [run.communicate()[0].strip() for run in runs] == [DIGEST] * 3
    assert [path.name for path in cache.iterdir()] == ["model.onnx"]


def brought(**settings: Any) -> Given:
    return Given(**{"file": "model.onnx", "sha256": DIGEST, "licence": "ours", "url": None} | settings)


def brought_from(address: str, **settings: Any) -> Given:
    """As `brought`, from the server of these tests, which speaks no https."""
    return Given.model_construct(**dict(brought(**settings)) | {"url": f"{address}/model.onnx"})


def test_a_teams_own_file_lies_in_its_folder(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=r"model\.onnx: is not on this machine; set FORGELINE_WEIGHTS .*or give its url"):
        given_weights(brought())
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    given = tmp_path / "model.onnx"
    given.write_bytes(CONTENT)
    assert given_weights(brought()) == given
    given.write_bytes(CONTENT[::-1])
    with pytest.raises(WeightsError, match=rf"has SHA-256 .*not {DIGEST[:16]}…; replace it$"):
        given_weights(brought())
    assert not cache.exists()


def test_a_teams_own_file_is_fetched_once(cache: Path, address: str) -> None:
    given = brought_from(address)
    assert given_weights(given).read_bytes() == CONTENT
    given_weights(given).write_bytes(CONTENT[:-1])
    assert given_weights(given) == given_weights(given)
    assert given_weights(given).read_bytes() == CONTENT
    assert Server.asked == ["/model.onnx"] * 2
    with pytest.raises(WeightsError, match=r"what came from .* has SHA-256"):
        given_weights(brought_from(address, sha256="0" * 64))


def test_files_of_one_name_do_not_replace_each_other(cache: Path, model: Callable[..., None], address: str) -> None:
    model("model", Address(f"{address}/model.onnx"), size=None)
    ours = weights("model")
    other = hashlib.sha256(CONTENT[::-1]).hexdigest()
    theirs = given_weights(Given.model_construct(**dict(brought(sha256=other)) | {"url": f"{address}/other.onnx"}))
    assert theirs.name == ours.name
    assert theirs.read_bytes() == CONTENT[::-1]
    assert weights("model").read_bytes() == CONTENT
    assert Server.asked == ["/model.onnx", "/other.onnx"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"file": "../model.onnx"},
        {"file": "/etc/model.onnx"},
        {"file": "a\\b.onnx"},
        {"file": ".onnx"},
        {"file": "..onnx"},
        {"file": "model.onnx\n"},
        {"file": "model.onnx\0.onnx"},
        {"file": "model.pth"},
        {"file": ""},
        {"sha256": DIGEST[:63]},
        {"sha256": DIGEST.upper()},
        {"sha256": DIGEST[:-1] + "g"},
        {"licence": ""},
        {"licence": " "},
        {"url": "http://example.org/model.onnx"},
        {"url": "file:///etc/model.onnx"},
        {"url": "https:///model.onnx"},
        {"url": ""},
    ],
)
def test_what_a_team_may_not_name(wrong: dict[str, str]) -> None:
    brought()
    brought(url="https://example.org/model.onnx")
    with pytest.raises(ValidationError) as caught:
        brought(**wrong)
    assert caught.value.errors()[0]["loc"] == tuple(wrong)
