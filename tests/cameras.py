"""Cameras, brokers and recordings in tests: real servers where they are installed, pictures of nobody real."""

import base64
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from flows.params import Params, load_params
from forgeline.clip import Picture
from forgeline.video import Encoding, VideoWriter
from sources import heads

ROOT = Path(__file__).resolve().parents[1]
SYSTEM_PYTHON = "/usr/bin/python3"
FPS = 25
TERMS: dict[str, Any] = {
    "agreement": "house rules 3",
    "licence": "internal research only",
    "accepted_by": "A. Person, Some Lab",
    "accepted_on": "2026-01-01",
    "permitted_use": ["detection", "research"],
    "consent": "a notice at the door, and signed forms of those who work here",
}


def until(true: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What `true` gives once it is something; fails when it takes too long."""
    deadline = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)
    return value


@cache
def faces(count: int = 1) -> Picture:
    """A picture of so many people beside each other who don't exist, 192 high."""
    return np.concatenate([_face(seed) for seed in range(count)], axis=1)


def _face(seed: int) -> Picture:
    rng = np.random.default_rng(seed)
    who, where = heads.person(rng, 0.3, 0.2 + 0.4 * seed, 0.4), heads.scene(rng)
    return heads.frame(who, heads.Expression(), heads.Pose(), where, 192, np.random.default_rng(4))


@cache
def nobody() -> Picture:
    """A picture with nobody in it."""
    return np.full((192, 192, 3), 90, np.uint8)


def moving(picture: Picture, number: int) -> Picture:
    """The picture a little to the side, so that no two in a row are equal."""
    return np.ascontiguousarray(np.roll(picture, number % 5, axis=1))


def write_film(path: Path, seconds: float, picture: Picture, gop: int = 10) -> Path:
    """A film that a camera might send, a key picture every `gop`."""
    height, width = picture.shape[:2]
    with VideoWriter(path, width, height, Fraction(FPS), Encoding(preset="ultrafast", gop=gop)) as writer:
        for number in range(round(seconds * FPS)):
            writer.write(moving(picture, number))
    return path


def params_of(folder: Path, address: str, terms: dict[str, Any] = TERMS, **changes: Any) -> Params:
    """The params of a checkout with the camera `hall`, written to params.yaml in `folder` as well."""
    value = yaml.safe_load((ROOT / "params.tiny.yaml").read_text())
    value["sources"] = {"hall": {"kind": "camera", "address": address, "segment_s": 1, "terms": terms} | changes}
    value["ingest"]["max_dropped"] = 1.0
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(value))
    return load_params(folder / "params.yaml")


def segments(folder: Path) -> list[Path]:
    """What is recorded in the checkout `folder`, oldest first."""
    return sorted((folder / "data/raw/hall").glob("2*.mkv"))


@contextmanager
def recorder(folder: Path, **env: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m flows camera hall` in the checkout `folder`; what it says is in `said.txt` there."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | env
    with (folder / "said.txt").open("a") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows", "camera", "hall"],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class MotionJpeg:
    """An HTTP camera: MJPEG as multipart, 25 pictures a second. `login` is `user:password`; `moved` an address it sends to."""

    def __init__(self, picture: Picture, login: str | None = None, port: int = 0, moved: str = "") -> None:
        data = [cv2.imencode(".jpg", moving(picture, n)[..., ::-1])[1].tobytes() for n in range(5)]
        wanted = None if login is None else "Basic " + base64.b64encode(login.encode()).decode()
        camera = self
        self.asked = self.refused = 0
        self.gone = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                camera.asked += 1
                if moved:
                    self.send_response(302)
                    self.send_header("Location", moved)
                    self.end_headers()
                    return
                if wanted is not None and self.headers["Authorization"] != wanted and wanted.split()[1] not in self.path:
                    camera.refused += 1
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.end_headers()
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
                self.end_headers()
                try:
                    for number in range(10**9):
                        part = data[number % len(data)]
                        head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(part)}\r\n\r\n"
                        self.wfile.write(head.encode() + part + b"\r\n")
                        if camera.gone.wait(1 / FPS):
                            return
                except OSError:
                    pass

        class Server(ThreadingHTTPServer):
            allow_reuse_address = daemon_threads = True

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True)
        self._thread.start()

    def __enter__(self) -> "MotionJpeg":
        return self

    def __exit__(self, *_: object) -> None:
        self.gone.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/film"


_RTSP = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
port, picture, login = sys.argv[1:]
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(f"( filesrc location={picture} ! pngdec ! imagefreeze is-live=true ! video/x-raw,framerate=25/1 "
    "! videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 threads=1 ! rtph264pay name=pay0 pt=96 "
    "audiotestsrc is-live=true volume=0.1 ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1 pt=0 )")
factory.set_shared(True)
if login:
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(*login.split(":", 1)), token)
    server.set_auth(auth)
    factory.add_role_from_structure(Gst.Structure.new_from_string(
        "user, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"))
server.get_mount_points().add_factory("/film", factory)
if not server.attach(None):
    sys.exit("the port is taken")
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""


@cache
def _has_gstreamer() -> bool:
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    elements = (
        "; from gi.repository import Gst; Gst.init(None); assert all(map(Gst.ElementFactory.find, ['x264enc', 'pngdec']))"
    )
    try:
        return not subprocess.run([SYSTEM_PYTHON, "-c", probe + elements], capture_output=True).returncode
    except OSError:
        return False


@contextmanager
def rtsp_server(folder: Path, picture: Picture, port: int = 0, login: str = "") -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A real RTSP camera (GStreamer's server) on loopback that sends H.264 and telephone sound: its port and process."""
    if not _has_gstreamer():
        packages = "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
        pytest.skip(f"needs an RTSP server: apt-get install {packages}")
    still = folder / "still.png"
    cv2.imwrite(str(still), picture[..., ::-1])
    command = [SYSTEM_PYTHON, "-c", _RTSP, str(port), str(still), login]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    try:
        yield int(server.stdout.readline()), server
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@contextmanager
def broker(folder: Path, login: str = "") -> Iterator[int]:
    """A real MQTT broker (Mosquitto) on loopback: its port."""
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("needs an MQTT broker: apt-get install mosquitto")
    port = free_port()
    lines = [f"listener {port} 127.0.0.1", f"allow_anonymous {'false' if login else 'true'}", "persistence false"]
    lines += ["user root"] * (os.geteuid() == 0)  # else it becomes another user, who can't read the folder
    if login:
        user, password = login.split(":", 1)
        subprocess.run(
            [program.replace("/sbin/", "/bin/") + "_passwd", "-b", "-c", str(folder / "users"), user, password],
            check=True,
            capture_output=True,
        )
        lines.append(f"password_file {folder / 'users'}")
    (folder / "broker.conf").write_text("\n".join(lines) + "\n")
    command = [program, "-c", str(folder / "broker.conf")]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        server.kill()
        server.wait()


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
