"""A camera that speaks RTSP and sensors that speak MQTT, each against a real server; skipped where there is none."""

import os
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from flows.camera import LOGIN_FILE, camera
from forgeline.errors import SourceError
from forgeline.inventory import scan
from forgeline.video import open_video
from sources.camera import read_told
from tests.cameras import MotionJpeg, broker, faces, nobody, params_of, recorder, rtsp_server, segments, until
from tests.test_camera import login_file, recording


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout's folder to work in."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv(LOGIN_FILE, raising=False)
    return folder


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_rtsp(here: Path, tmp_path: Path, transport: str) -> None:
    with rtsp_server(tmp_path, faces()) as (port, _):
        began = datetime.now(UTC).timestamp()
        with recording(params_of(here, f"rtsp://127.0.0.1:{port}/film", transport=transport)):
            until(lambda: len(segments(here)) >= 2)
    first, second, *_ = segments(here)
    clip = open_video(first)
    assert (clip.width, clip.height) == (192, 192)
    assert clip.duration >= 1
    assert sum(1 for _ in clip.pictures()) == clip.frames
    sound = clip.sound()
    assert sound is not None
    assert sound.rate == 8000
    assert abs(sound.samples[2000:-2000]).mean() > 0.02
    told, later = (read_told(path.with_suffix(".jsonl").read_text()) for path in (first, second))
    assert began <= told.began < later.began < datetime.now(UTC).timestamp()
    assert {*told.faces, *later.faces} == {1}


def test_a_camera_that_went_away_is_recorded_when_it_is_back(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with rtsp_server(tmp_path, nobody()) as (port, server):
        params = params_of(here, f"rtsp://127.0.0.1:{port}/film")
        with recording(params):
            until(lambda: len(segments(here)) >= 1)
            server.kill()
            until(lambda: "lost" in capsys.readouterr().out)
            before = len(segments(here))
            with rtsp_server(tmp_path, nobody(), port):
                until(lambda: len(segments(here)) > before)
    for segment in segments(here):
        assert sum(1 for _ in open_video(segment).pictures()) == open_video(segment).frames


def test_a_camera_that_falls_silent_is_taken_for_lost(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.camera.READ_S", 1.0)
    with rtsp_server(tmp_path, nobody()) as (port, server), recording(params_of(here, f"rtsp://127.0.0.1:{port}/film")):
        until(lambda: len(segments(here)) >= 1)
        server.send_signal(signal.SIGSTOP)
        until(lambda: "lost" in capsys.readouterr().out)
        before = len(segments(here))
        server.send_signal(signal.SIGCONT)
        until(lambda: len(segments(here)) > before)


def test_the_login_of_an_rtsp_camera_is_used_and_never_told(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with rtsp_server(tmp_path, nobody(), login="admin:geheim@:/") as (port, server):
        params = params_of(here, f"rtsp://127.0.0.1:{port}/film")
        with recorder(here, **{LOGIN_FILE: login_file(here, "hall admin:geheim@:/\n")}) as process:
            until(lambda: len(segments(here)) >= 1)
            server.kill()
            until(lambda: "lost" in (here / "said.txt").read_text())
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        with rtsp_server(tmp_path, nobody(), port, login="admin:geheim@:/"):
            monkeypatch.setenv(LOGIN_FILE, login_file(here, "hall admin:falsch-hier\n"))
            with pytest.raises(SourceError, match="refuses the login"):
                camera("hall", params, threading.Event())
    kept = b"".join(path.read_bytes() for path in here.rglob("*") if path.is_file())
    assert b"geheim" not in kept
    assert not [word for word in ("geheim", "falsch", "admin") if word in "".join(capfd.readouterr())]


def test_readings_of_a_broker_are_joined_by_time(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOGIN_FILE, login_file(here, "hall.sensors sensor:ganz-geheim\n"))
    with broker(tmp_path, "sensor:ganz-geheim") as port, MotionJpeg(faces()) as server:
        topics = {"temperature": "hall/air", "humidity": "hall/air", "motion": "hall/motion", "silent": "hall/none"}
        params = params_of(here, server.address, sensors={"broker": f"127.0.0.1:{port}", "topics": topics})
        client = Client(CallbackAPIVersion.VERSION2)
        client.username_pw_set("sensor", "ganz-geheim")
        until(lambda: connected(client, port))
        client.loop_start()
        client.publish("hall/none", "7", retain=True).wait_for_publish(10)  # of a time that nobody knows
        try:
            with recording(params):

                def said() -> bool:
                    client.publish("hall/air", '{"temperature": 21.5, "humidity": 40}')
                    client.publish("hall/motion", "ON")
                    client.publish("hall/air", "no number")
                    return any('"motion"' in path.with_suffix(".jsonl").read_text() for path in segments(here))

                until(said)
        finally:
            client.disconnect()
            client.loop_stop()
    source: Any = params.sources["hall"]
    inventory = scan(here / "data/raw/hall", here / "inventory", here / "cache")
    measured = [row.sensors for row in source("hall", here / "data/raw/hall", inventory) if row.sensors]
    assert measured
    assert measured[-1] == {"humidity": "40", "motion": "1", "temperature": "21.5"}
    within = 0
    for segment in segments(here):
        told = read_told(segment.with_suffix(".jsonl").read_text())
        times = [time for readings in told.readings.values() for time, _ in readings]
        assert all(time <= told.ended for time in times)
        within += sum(told.began < time for time in times)
    assert within > 3
    assert b"ganz-geheim" not in b"".join(path.read_bytes() for path in here.rglob("*") if path.is_file())


def connected(client: Client, port: int) -> bool:
    try:
        client.connect("127.0.0.1", port)
    except OSError:
        return False
    return True


def test_a_broker_that_is_away_holds_up_nothing(here: Path) -> None:
    with MotionJpeg(nobody()) as server:
        params = params_of(here, server.address, sensors={"broker": "127.0.0.1:9", "topics": {"temperature": "a"}})
        with recording(params):
            until(lambda: len(segments(here)) >= 1)
    assert os.listdir(here / "data/raw")
