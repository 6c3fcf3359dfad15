"""A live camera is recorded whole, in whole segments, within its room, and never without recorded terms."""

import json
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import av
import pytest
from pydantic import ValidationError

from flows import workspace
from flows.camera import LOGIN_FILE, _Recorder, camera, reading
from flows.ingest import ingest
from flows.params import Params
from flows.plan import _permitted, assign_splits
from flows.scan import scan_all
from forgeline.errors import FactoryError, KeyFileError, LockedError, ParamsError, SourceError, TermsError
from forgeline.inventory import load
from forgeline.lock import holding
from forgeline.manifest import check, read_manifest
from forgeline.sample import Sample
from forgeline.video import open_video
from sources.camera import Camera, held_mean, read_told
from sources.corpus import Corpus
from tests.cameras import TERMS, MotionJpeg, faces, nobody, params_of, recorder, segments, until, write_film

PEOPLE = {name: {"basis": "signed form", "scope": ["face", "voice"]} for name in ("ana", "ben", "cem", "dora")}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout's folder to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(LOGIN_FILE, raising=False)
    return tmp_path


@contextmanager
def recording(params: Params) -> Iterator[threading.Event]:
    """The recorder in a thread of its own, until the block ends."""
    stop, failed = threading.Event(), []

    def run() -> None:
        try:
            camera("hall", params, stop)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(30)
    assert not failed, failed


def told(segment: Path) -> Any:
    return read_told(segment.with_suffix(".jsonl").read_text())


def began(segment: Path) -> datetime:
    return datetime.strptime(segment.stem, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)


# Recording -----------------------------------------------------------------------------------------------------------


def test_a_film_is_cut_at_key_pictures_and_nothing_is_lost_or_encoded_again(here: Path) -> None:
    film = write_film(here / "film.mp4", 3.0, faces())
    before = datetime.now(UTC)
    assert camera("hall", params_of(here, str(film)), threading.Event()) == 3
    made = segments(here)
    with av.open(str(film)) as container:
        sent = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    kept = []
    for segment in made:
        with av.open(str(segment)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
            assert packets[0].is_keyframe
            kept += [bytes(packet) for packet in packets]
    assert kept == sent
    clips = [open_video(segment) for segment in made]
    assert [(clip.fps, clip.frames) for clip in clips] == [(25, 30), (25, 30), (25, 15)]  # a key picture every 10 pictures
    assert 0 <= (began(made[0]) - before).total_seconds() < 20
    assert [round((began(made[n + 1]) - began(made[n])).total_seconds(), 1) for n in (0, 1)] == [1.2, 1.2]  # as fast as filmed
    for segment, clip in zip(made, clips, strict=True):
        assert told(segment).began == pytest.approx(began(segment).timestamp())
        assert told(segment).ended - told(segment).began == pytest.approx((clip.frames - 1) / 25, abs=0.002)
        assert told(segment).faces
    assert {1} == {count for segment in made for count in told(segment).faces}
    lines = [json.loads(line) for line in made[0].with_suffix(".jsonl").read_text().splitlines()[1:]]
    assert {face["id"] for line in lines for face in line["faces"]} == {1}  # one and the same
    assert not [path for path in made[0].parent.iterdir() if path.name.startswith(".")]


def test_raw_pictures_are_encoded(here: Path) -> None:
    film = write_film(here / "film.mp4", 1.5, nobody())
    with av.open(str(film)) as source, av.open("raw.avi", "w") as raw:
        out = raw.add_stream("rawvideo", rate=25)
        out.width, out.height, out.pix_fmt = 192, 192, "yuv420p"
        for frame in source.decode(video=0):
            raw.mux(out.encode(frame))
        raw.mux(out.encode(None))
    assert camera("hall", params_of(here, str(here / "raw.avi")), threading.Event()) == 2
    (first, second) = segments(here)
    assert open_video(first).frames + open_video(second).frames == 38
    assert abs(next(iter(open_video(first).pictures())).astype(int) - 90).max() <= 3
    assert set(told(first).faces) == {0}


def test_mjpeg_over_http_is_kept_as_it_comes_and_comes_back_after_a_loss(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with MotionJpeg(faces()) as server:
        params = params_of(here, server.address)
        with recording(params):
            until(lambda: len(segments(here)) >= 2)
            server.__exit__()
            until(lambda: "lost" in capsys.readouterr().out)
            before = len(segments(here))
            with MotionJpeg(faces(), port=server.port) as again:
                until(lambda: len(segments(here)) > before)
                assert again.asked == 1
    made = segments(here)
    for segment in made:
        assert open_video(segment).frames >= 2
        with av.open(str(segment)) as container:
            assert container.streams.video[0].codec_context.name == "mjpeg"
    assert open_video(made[0]).duration >= 1
    assert sum(1 for _ in open_video(made[0]).pictures()) == open_video(made[0]).frames
    assert "back after" in capsys.readouterr().out


def test_a_kill_leaves_whole_segments_and_nothing_else(here: Path) -> None:
    folder = here / "data/raw/hall"
    with MotionJpeg(faces()) as server:
        params = params_of(here, server.address)
        with recorder(here) as process:
            until(lambda: len(segments(here)) >= 1)
            until(lambda: any(map(size, folder.glob(".part-*.mkv"))))
            process.send_signal(signal.SIGKILL)
            process.wait()
        halves = list(folder.glob(".part-*"))
        assert halves
        for segment in segments(here):
            assert told(segment).faces is not None
            assert sum(1 for _ in open_video(segment).pictures()) == open_video(segment).frames
            assert open_video(segment).duration > 0.9
        scan_all(["hall"], params)
        listed = load(workspace.inventory("hall"))
        assert set(listed.files) == {p.name for p in folder.iterdir()} - {p.name for p in halves}
        (folder / "20200101T000000.000Z.jsonl").write_text("{}")  # as a kill between the two renames leaves it
        done = len(segments(here))
        with recording(params):
            until(lambda: len(segments(here)) > done)
    assert not list(folder.glob(".part-*"))
    assert {p.stem for p in folder.iterdir()} == {p.stem for p in segments(here)}


def test_one_recorder_a_camera(here: Path) -> None:
    params = params_of(here, str(write_film(here / "film.mp4", 1.0, nobody())))
    with holding(workspace.lock("camera@hall")), pytest.raises(LockedError):
        camera("hall", params, threading.Event())


def test_the_room_is_kept_and_named_segments_are(here: Path) -> None:
    film = write_film(here / "film.mp4", 4.0, faces(), gop=5)
    keep = film.stat().st_size / 2
    params = params_of(here, str(film), keep_gb=keep / 1e9)
    folder = here / "data/raw/hall"
    folder.mkdir(parents=True)
    old = folder / "20200101T000000.000Z.mkv"
    named = folder / "20200101T000001.000Z.mkv"
    for path in (old, named):
        path.write_bytes(b"x" * int(keep / 8))
        path.with_suffix(".jsonl").write_text("{}")
    (folder / "people.csv").write_text(f"segment,person\n{named.name},ana\n")
    sizes = []
    stop = threading.Event()

    def measure() -> None:
        while not stop.wait(0.01):
            sizes.append(sum(size(path) for path in folder.glob("*.mkv")))  # with the one that is being written

    watching = threading.Thread(target=measure)
    watching.start()
    try:
        assert camera("hall", params, threading.Event()) >= 3
    finally:
        stop.set()
        watching.join()
    assert max(sizes) <= keep * 1.1
    assert not old.exists()
    assert not old.with_suffix(".jsonl").exists()
    assert named.exists()
    assert 2 <= len(segments(here)) < 5


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_a_room_full_of_named_segments_ends_the_recording(here: Path) -> None:
    film = write_film(here / "film.mp4", 2.0, faces())
    folder = here / "data/raw/hall"
    folder.mkdir(parents=True)
    named = folder / "20200101T000001.000Z.mkv"
    named.write_bytes(b"x" * 1_000_000)
    (folder / "people.csv").write_text(f"segment,person\n{named.name},ana\n")
    with pytest.raises(FactoryError, match=r"keep_gb: is full of segments that are named"):
        camera("hall", params_of(here, str(film), keep_gb=0.001), threading.Event())
    assert named.exists()


def full(folder: Path, people: bytes) -> tuple[_Recorder, Path, Path]:
    """A recorder whose room is one of two segments and a half, the second of which, the younger, `people` name."""
    params = params_of(folder, "/dev/video0", keep_gb=0.0015)
    source, rest = params.sources["hall"], cast(Any, None)
    assert isinstance(source, Camera)
    recorder = _Recorder("hall", source, threading.Event(), rest, rest)
    named, other = (recorder.folder / f"2020010{day}T000001.000Z.mkv" for day in (1, 2))
    for path in (named, other):
        path.write_bytes(b"x" * 900_000)
    (recorder.folder / "people.csv").write_bytes(people)
    recorder._kept = 1_800_000
    return recorder, named, other


NAMED = "segment,person\n20200101T000001.000Z.mkv,ana\n"


@pytest.mark.parametrize(
    "people",
    [
        NAMED.encode("utf-8-sig"),
        NAMED.replace(",", ";").replace("\n", "\r\n").encode(),
        NAMED.replace(",", "\t").encode("utf-16"),
        b"\xfe\xff" + NAMED.replace(",", "\t").encode("utf-16-be"),
        b"sep=;\n" + NAMED.replace(",", ";").encode(),
        NAMED.replace("2020", '"2020').replace(",ana", '" , ana').encode(),
        b"person,segment\nana,20200101T000001.000Z.mkv\n",
        b"segment,person\ndata/raw/hall/20200101T000001.000Z.mkv,ana",
    ],
    ids=["mark", "semicolons", "UTF-16", "big-endian", "sep", "quotes", "columns", "whole path"],
)
def test_who_is_named_stays_however_the_table_was_saved(here: Path, people: bytes) -> None:
    recorder, named, other = full(here, people)
    recorder._room(0)
    assert (named.exists(), other.exists()) == (True, False)


@pytest.mark.parametrize(
    "people",
    [
        NAMED.replace("ana", "än").encode("cp1252"),
        NAMED.encode("utf-16-le"),  # without its mark
        NAMED.encode("utf-32"),
        b"PK\x03\x04\x14\x00\xff",
        NAMED.encode("utf-16")[:-1],
    ],
    ids=["cp1252", "no mark", "UTF-32", "a spreadsheet", "cut off"],
)
def test_nothing_is_deleted_where_nobody_can_tell_who_is_named(
    here: Path, people: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder, named, other = full(here, people)
    for _ in range(3):
        recorder._room_at = 0.0
        recorder._room(0)
    assert capsys.readouterr().out.count("camera hall: people.csv can't be read (it is ") == 1
    (recorder.folder / "people.csv").write_bytes(people + b"\xff\xff")
    recorder._room_at = 0.0
    recorder._room(0)
    assert capsys.readouterr().out.count("; no segment is deleted until it can\n") == 1
    recorder._room_at = 0.0
    with pytest.raises(FactoryError, match=r"people\.csv: can't be read, so that no segment may make way"):
        recorder._room(80_000)  # a quarter more than there is room
    assert named.exists()
    assert other.exists()
    (recorder.folder / "people.csv").write_text(NAMED)
    recorder._room(80_000)
    assert (named.exists(), other.exists()) == (True, False)


def test_a_table_that_may_not_be_read_deletes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorder, named, other = full(here, b"")
    (recorder.folder / "people.csv").unlink()
    (recorder.folder / "people.csv").mkdir()
    recorder._room(0)
    assert named.exists()
    assert other.exists()
    assert "people.csv can't be read (Is a directory)" in capsys.readouterr().out


def test_deleting_waits_for_an_ingest_but_not_for_ever(here: Path) -> None:
    film = write_film(here / "film.mp4", 1.5, faces(), gop=5)
    folder = here / "data/raw/hall"
    folder.mkdir(parents=True)
    old = folder / "20200101T000000.000Z.mkv"
    old.write_bytes(b"x" * 1_000_000)
    for room, stays in ((0.9 * 1e-3 + film.stat().st_size / 1e9, True), (0.75e-3, False)):
        with holding(workspace.lock("ingest@hall")):
            camera("hall", params_of(here, str(film), keep_gb=room), threading.Event())
        assert old.exists() == stays


def test_a_camera_without_key_pictures_is_no_endless_segment(here: Path) -> None:
    film = write_film(here / "film.mp4", 6.0, nobody(), gop=250)
    with pytest.raises(SourceError, match="it sends no key pictures"):
        camera("hall", params_of(here, str(film)), threading.Event())
    (segment,) = segments(here)
    assert 4 <= open_video(segment).duration <= 4.1


# Terms ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "what"),
    [
        ({"accepted_by": None}, "nobody has accepted them"),
        ({"accepted_on": None}, "nobody has accepted them"),
        ({"consent": Camera.template.consent}, "consent: is still the template's"),
        ({"accepted_on": "2999-01-01"}, "is yet to come"),
        ({"expires": "2026-01-02"}, "they ended on 2026-01-02"),
        ({"permitted_use": ["education"]}, "detection is not permitted"),
    ],
)
def test_nothing_is_taken_in_before_the_terms_are_there(here: Path, terms: dict[str, Any], what: str) -> None:
    with MotionJpeg(nobody()) as server:
        params = params_of(here, server.address, {k: v for k, v in (TERMS | terms).items() if v is not None})
        with pytest.raises(TermsError, match=what):
            camera("hall", params, threading.Event())
        assert server.asked == 0
    assert not (here / "data").exists()
    if "yet to come" not in what and "ended" not in what:
        with pytest.raises(TermsError, match=what):
            params.sources["hall"].__call__("hall", here / "raw", stored(here, {}))


def test_recording_ends_with_the_terms(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []

    def require(self: Camera, name: str, today: date) -> None:
        ends.append(today)
        if len(ends) > 3:
            raise TermsError(f"sources.{name}.terms", "they ended", "renew them")

    monkeypatch.setattr(Camera, "require_recording", require)
    film = write_film(here / "film.mp4", 4.0, nobody())
    with pytest.raises(TermsError, match="they ended"):
        camera("hall", params_of(here, str(film)), threading.Event())
    assert len(segments(here)) == 2


def test_the_template_alone_reads_nothing(here: Path) -> None:
    source = Camera(terms=Camera.template)
    (here / "raw").mkdir()
    (here / "raw/a").write_bytes(b"")
    with pytest.raises(TermsError, match="nobody has accepted"):
        source("hall", here / "raw", load_of(here))


def load_of(folder: Path) -> Any:
    from forgeline.inventory import scan

    return scan(folder / "raw", folder / "inventory.jsonl", folder / "cache")


# Addresses and logins ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "concat:/etc/passwd|/etc/hosts",
        "https://camera/film",
        "udp://camera:5000",
        "film.mp4",
        "rtsp:///film",
        "rtsp://camera:port/film",
        "rtsp://camera/a b",
        "rtsp://camera/a\n",
        "http://[::1/film",
    ],
)
def test_other_addresses_are_refused(here: Path, address: str) -> None:
    with pytest.raises(ParamsError, match=r"address: give rtsp://host/path, http"):
        params_of(here, address)


def test_a_login_in_params_is_refused_and_not_repeated(here: Path) -> None:
    with pytest.raises(ParamsError, match="FORGELINE_CAMERA_FILE") as caught:
        params_of(here, "rtsp://admin:verysecret@camera/film")
    assert "verysecret" not in str(caught.value)
    assert "admin" not in str(caught.value)


def login_file(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder.parent / f"{folder.name}-logins"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("query", ["", "?user={user}&key={password}"])
def test_logins_are_used_and_never_told(here: Path, query: str) -> None:
    secret = "dmVy:c2VjcmV0/@"
    written = "YW55:dmVyeXNlY3JldA" if query else secret
    with MotionJpeg(faces(), login=f"admin:{written}" if not query else None) as server:
        params_of(here, server.address + query)
        with recorder(here, **{LOGIN_FILE: login_file(here, f"other a:b\nhall admin:{written}\n")}) as process:
            until(lambda: len(segments(here)) >= 1)
            server.__exit__()
            until(lambda: "lost" in (here / "said.txt").read_text())
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    said = (here / "said.txt").read_text()
    assert f"recording {server.address} into data/raw/hall" in said
    assert "stopped" in said
    told = b"".join(path.read_bytes() for path in here.rglob("*") if path.is_file())
    for part in (written, written.split(":")[1], "admin"):
        assert part.encode() not in told


def test_a_refused_login_is_not_tried_again(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stop = threading.Event()
    with MotionJpeg(nobody(), login="admin:right") as server:
        monkeypatch.setenv(LOGIN_FILE, login_file(here, "hall admin:wrong-one"))
        late = threading.Timer(20, stop.set)
        late.start()
        with pytest.raises(
            SourceError, match=r"sources.hall.address: the camera refuses the login; write `hall user:password`"
        ):
            camera("hall", params_of(here, server.address), stop)
        late.cancel()
        assert server.refused <= 2  # FFmpeg asks once without
    assert "wrong-one" not in "".join(capfd.readouterr())


def test_a_login_lies_where_nobody_else_reads_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params, stopped = params_of(here, "http://127.0.0.1:9/film"), threading.Event()
    stopped.set()
    monkeypatch.setenv(LOGIN_FILE, login_file(here, "hall a:b", 0o644))
    with pytest.raises(KeyFileError, match="mode 644"):
        camera("hall", params, stopped)
    (here / "logins").write_text("hall a:b")
    monkeypatch.setenv(LOGIN_FILE, str(here / "logins"))
    with pytest.raises(KeyFileError, match="lies in the checkout"):
        camera("hall", params, stopped)
    monkeypatch.delenv(LOGIN_FILE)
    with pytest.raises(KeyFileError, match="asks for a login"):
        camera("hall", params_of(here, "http://127.0.0.1:9/film?{user}"), stopped)


def test_a_camera_can_not_send_the_recorder_elsewhere(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with MotionJpeg(nobody()) as other, MotionJpeg(nobody(), moved=other.address) as server:
        with recording(params_of(here, server.address)):
            until(lambda: "lost" in capsys.readouterr().out)
        assert (server.asked > 0, other.asked) == (True, 0)
    assert not segments(here)


def test_only_cameras_are_recorded(here: Path) -> None:
    with pytest.raises(SourceError, match=r"door: is no camera in params; there are hall"):
        camera("door", params_of(here, "/film"), threading.Event())
    with pytest.raises(SourceError, match=r"sources.hall.address: is missing"):
        camera("hall", params_of(here, ""), threading.Event())
    with pytest.raises(SourceError, match=r"/nowhere.mp4: can't be recorded \(No such file"):
        camera("hall", params_of(here, "/nowhere.mp4"), threading.Event())
    with pytest.raises(SourceError, match=r"/dev/null: can't be recorded"):
        camera("hall", params_of(here, "/dev/null"), threading.Event())
    (here / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n")
    with pytest.raises(SourceError, match=r"list.mp4: can't be recorded \(Invalid data"):
        camera("hall", params_of(here, str(here / "list.mp4")), threading.Event())


# As a corpus ---------------------------------------------------------------------------------------------------------


def stored(folder: Path, files: Mapping[str, str | bytes]) -> Any:
    (folder / "raw").mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / "raw" / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_of(folder)


def beside(faces_seen: list[int], *readings: tuple[str, str, float]) -> str:
    lines: list[dict[str, Any]] = [{"began": "2026-11-21T10:00:00.000Z", "ended": "2026-11-21T10:01:00.000Z"}]
    lines += [
        {"time": "2026-11-21T10:00:01.000Z", "faces": [{"id": n, "box": [0, 0, 1, 1]} for n in range(c)]} for c in faces_seen
    ]
    lines += [{"time": f"2026-11-21T{time}Z", "sensor": name, "value": value} for name, time, value in readings]
    return "\n".join(json.dumps(line) for line in lines) + "\n"


def stamp(minute: int) -> str:
    return f"20261121T10{minute:02}00.000Z"


def rows(corpus: Corpus) -> dict[str, Sample]:
    return {Path(row.media).name: row for row in corpus}


def source(generate: bool = False) -> Camera:
    return Camera.model_validate_json(json.dumps({"terms": TERMS | {"generate": generate, "people": PEOPLE}}))


def test_only_named_people_are_people(here: Path) -> None:
    files = {f"{stamp(n)}.mkv": str(n) for n in range(8)}
    seen = {0: [1, 1], 1: [1, 1], 2: [1, 2], 3: [0, 0, 1], 4: [0, 1], 5: [1, 1]}
    files |= {f"{stamp(n)}.jsonl": beside(counts) for n, counts in seen.items()} | {f"{stamp(6)}.jsonl": "{}"}
    named = {0: "ana", 2: "ben", 5: "eve", 99: "cem"}
    files["people.csv"] = "segment,person\n" + "".join(f"{stamp(n)}.mkv,{person}\n" for n, person in named.items())
    corpus = source()("hall", here / "raw", stored(here, files))
    made = rows(corpus)
    assert (made[f"{stamp(0)}.mkv"].target_id, made[f"{stamp(0)}.mkv"].label) == ("hall:ana", "real")
    for unnamed in (1, 4):
        row = made[f"{stamp(unnamed)}.mkv"]
        assert (row.reason, row.target_id, row.apparent_id, row.source_id) == (None, None, None, None)
    assert made[f"{stamp(2)}.mkv"].reason == "shows 2 faces at once, and ben is only one of them"
    assert f"{stamp(3)}.mkv" not in made
    assert made[f"{stamp(5)}.mkv"].reason == "no consent is recorded for eve"
    assert "is not the recorder's" in str(made[f"{stamp(6)}.mkv"].reason)
    assert made[f"{stamp(7)}.mkv"].reason == f"{stamp(7)}.jsonl is not beside it"
    report = corpus.report()
    assert report.have == {"of named people": 1, "of nobody named": 2}
    assert report.missing.examples == (f"{stamp(99)}.mkv",)
    assert report.unexpected.count == 0
    assert report.notes == ("1 segments that nobody named show no face, or hardly one; left out",)


def test_a_camera_that_saw_nobody_yet_is_no_error(here: Path) -> None:
    corpus = source()("hall", here / "raw", stored(here, {f"{stamp(0)}.mkv": "0", f"{stamp(0)}.jsonl": beside([0, 0])}))
    assert list(corpus) == []
    assert corpus.report().notes == ("1 segments that nobody named show no face, or hardly one; left out",)


def test_what_the_recorder_did_not_write_costs_its_segment_alone(here: Path) -> None:
    """A file that is no text, too: as a disk that failed leaves it."""
    files: dict[str, str | bytes] = {f"{stamp(n)}.mkv": str(n) for n in range(4)}
    files |= {
        f"{stamp(0)}.jsonl": beside([1]),
        f"{stamp(1)}.jsonl": b"\xff\xfe{",
        f"{stamp(2)}.jsonl": "{",
        f"{stamp(3)}.jsonl": "\0",
    }
    made = rows(source()("hall", here / "raw", stored(here, files)))
    assert made[f"{stamp(0)}.mkv"].reason is None
    assert made[f"{stamp(1)}.mkv"].reason == f"{stamp(1)}.jsonl is not the recorder's (not UTF-8 text (byte 0))"
    for other in (2, 3):
        assert str(made[f"{stamp(other)}.mkv"].reason).startswith(f"{stamp(other)}.jsonl is not the recorder's (")


@pytest.mark.parametrize(
    "table",
    [
        f"segment;person\n{stamp(0)}.mkv;ana\n".encode(),
        f"segment\tperson\n{stamp(0)}.mkv\tana\n".encode(),
        f"sep=;\nsegment;person\n{stamp(0)}.mkv;ana\n".encode(),
        f"segment,person\n{stamp(0)}.mkv,ana\n".encode("utf-16"),
        f"segment,person\n{stamp(0)}.mkv,ana\n".encode("utf-16-le"),
        f"segment,person\n{stamp(0)}.mkv,än\n".encode("cp1252"),
        b"",
    ],
)
def test_a_table_that_was_saved_otherwise_is_one_clear_line(here: Path, table: bytes) -> None:
    files: dict[str, str | bytes] = {f"{stamp(0)}.mkv": "", f"{stamp(0)}.jsonl": beside([1]), "people.csv": table}
    with pytest.raises(SourceError, match=r"people\.csv: .*save it as comma-separated values in UTF-8") as error:
        source()("hall", here / "raw", stored(here, files))
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "table",
    [
        "who,what\n",
        f"segment,person\n{stamp(0)}.mkv\n",
        f"segment,person\n{stamp(0)}.mkv,../x\n",
        f"segment,person\n{stamp(0)}.mkv,ana\n{stamp(0)}.mkv,ben\n",
    ],
)
def test_a_wrong_table_of_people_is_refused(here: Path, table: str) -> None:
    files = {f"{stamp(0)}.mkv": "", f"{stamp(0)}.jsonl": beside([1]), "people.csv": table}
    with pytest.raises(SourceError, match=r"people\.csv"):
        source()("hall", here / "raw", stored(here, files))


def test_forgeries_need_four_people_with_consent(here: Path) -> None:
    with pytest.raises(ValidationError, match="at least 4 people"):
        Camera.model_validate_json(json.dumps({"terms": TERMS | {"generate": True}}))
    with pytest.raises(ValidationError, match="can't be a person's name"):
        Camera.model_validate_json(json.dumps({"terms": TERMS | {"people": {"a b": PEOPLE["ana"]}}}))
    files = {f"{stamp(0)}.mkv": "", f"{stamp(0)}.jsonl": beside([1]), "people.csv": f"segment,person\n{stamp(0)}.mkv,ana\n"}
    with pytest.raises(SourceError, match=r"names 1 people with consent; name at least 4"):
        source(generate=True)("hall", here / "raw", stored(here, files))


def test_readings_are_joined_by_time(here: Path) -> None:
    told = beside(
        [1],
        ("temperature", "09:50:00.000", 10),  # holds until the next
        ("temperature", "10:00:30.000", 20),
        ("temperature", "10:02:00.000", 99),  # after it
        ("humidity", "09:44:59.000", 50),  # too old
        ("motion", "10:00:20.000", 1),
        ("motion", "10:00:30.000", 0),
    )
    corpus = source()("hall", here / "raw", stored(here, {f"{stamp(0)}.mkv": "", f"{stamp(0)}.jsonl": told}))
    (row,) = corpus
    assert row.sensors == {"temperature": "15", "motion": "0.25"}


def test_a_mean_is_over_time() -> None:
    assert held_mean([], 0, 10) is None
    assert held_mean([(11, 5)], 0, 10) is None
    assert held_mean([(-901, 5)], 0, 10) is None
    assert held_mean([(-900, 5)], 0, 10) == 5
    assert held_mean([(10, 5)], 0, 10) == 5
    assert held_mean([(8, 1), (-1, 3), (-2, 100), (5, 2)], 0, 10) == pytest.approx((5 * 3 + 3 * 2 + 2 * 1) / 10)


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"21.5", 21.5),
        (b" -3\n", -3),
        (b"ON", 1),
        (b"false", 0),
        (b'{"temperature": 21.5, "x": 1}', 21.5),
        (b'{"temperature": "on"}', 1),
        (b'{"other": 3}', None),
        (b"warm", None),
        (b"NaN", None),
        (b"1e999", None),
        (b"[1]", None),
        (b"\xff", None),
        (b"", None),
        (b"1" * 20_000, None),
        (b"[" * 9_000, None),
    ],
)
def test_what_a_message_says(payload: bytes, value: float | None) -> None:
    assert reading(payload, "temperature") == value


def test_faces_of_a_camera_are_in_no_forgery_without_enrolment(here: Path) -> None:
    """Scanned and ingested as any corpus while the recorder runs; the plan takes nobody whom the operator didn't name."""
    with MotionJpeg(faces()) as server:
        params = params_of(here, server.address, TERMS | {"generate": True, "people": PEOPLE})
        with recording(params):
            until(lambda: segments(here) and list((here / "data/raw/hall").glob(".part-*.mkv")))
            scan_all([], params)
            ingest("hall", params)
    check(workspace.REAL / "hall" / workspace.MANIFEST)
    row = read_manifest(workspace.REAL / "hall" / workspace.MANIFEST)[0]
    assert (row.reason, row.target_id, row.label) == (None, None, "real")
    components = assign_splits([row], params.plan)
    with pytest.raises(SourceError, match="no clip that forgeries may be made from"):
        _permitted([row], components, params, date(2026, 11, 21))
    usable, _ = _permitted([replace(row, target_id="hall:ana")], components, params, date(2026, 11, 21))
    assert [each.sample_id for each in usable] == [row.sample_id]
