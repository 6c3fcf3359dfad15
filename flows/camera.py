"""`camera`: record a live camera into data/raw/<name>, segment by segment, until it is stopped.

Packets are written as the camera sends them, without encoding again: H.264, H.265, VP8, VP9, AV1 and MJPEG, each in Matroska.
Only raw pictures, as some local devices give them, are encoded, by x264 at crf 18, and telephones' companded sound is expanded,
which loses nothing. A segment is a part file, which `scan` passes over, until it is whole and takes its name; what a kill
leaves behind is deleted at the next start. Faces are followed and readings of sensors collected meanwhile, for the file beside
the segment (sources/camera.py says what is in it): pictures that can't be looked at in time are passed over, none is missing in
the recording.

Memory does not grow with time: of packets that wait to be looked at there are 16 MB at most, of readings 10 000. Disk is
`keep_gb` at most, a quarter more while a scan or an ingest of the source is running or nobody can tell from people.csv which
segments are named.
"""

import errno
import json
import os
import stat
import threading
import time
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlsplit

import av

from flows import workspace
from flows.params import Params
from forgeline.errors import FactoryError, KeyFileError, LockedError, SourceError
from forgeline.files import PART, write_text
from forgeline.lock import holding
from forgeline.recipe import canonical
from forgeline.video import Encoding, picture_of
from sources.camera import PEOPLE, STAMP, SUFFIX, TOLD, Camera, Sensors

if TYPE_CHECKING:
    from forgeline.faces import Face, FaceFinder

LOGIN_FILE = "FORGELINE_CAMERA_FILE"
"""Names the file with the logins, which is nobody else's to read and lies outside the checkout: `door user:password` a line,
and `door.sensors user:password` for the broker of the camera `door`."""

OPEN_S, READ_S = 10.0, 5.0
"""Seconds of silence after which a camera that is being connected to, or that is connected, is taken for lost."""
PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""From the loss of a camera to the first attempt to have it back, which doubles up to the other."""
LOOKS = 5
"""Pictures a second in which faces are looked for, at most."""

_AS_SENT = {"h264", "hevc", "vp8", "vp9", "av1", "mjpeg"}
_COMPANDED = {"pcm_mulaw", "pcm_alaw"}
_SOUND = {"aac", "opus", "mp3", "flac", "pcm_s16le", *_COMPANDED}
_FILES = "matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,avi,mpegts"
_OVERDUE = 3
"""Times `segment_s` without a key picture at which a segment could be ended."""
_JUMP_S = 10.0
_PUT_OFF = 1.25
_WAITING_BYTES, _WAITING = 16_000_000, 100
_READINGS = 10_000
_TICK = Fraction(1, 1000)  # Matroska's


class _LostError(Exception):
    """The camera is gone, for now."""


def camera(name: str, params: Params, stop: threading.Event) -> int:
    """Record the source `name` until `stop` is set, or its file ends; how many segments were recorded.

    TermsError before anything is connected to, where the terms aren't accepted, and as soon as they end. A camera that is
    lost is waited for; one that refuses the login is an error, as further attempts could lock the account.
    """
    source = params.sources.get(name)
    if not isinstance(source, Camera):
        cameras = ", ".join(key for key, each in params.sources.items() if isinstance(each, Camera)) or "none"
        raise SourceError(name, "is no camera in params", f"there are {cameras} (kind: camera)")
    source.require_recording(name, datetime.now(UTC).date())
    if not source.address:
        raise SourceError(f"sources.{name}.address", "is missing", "write where the camera is")
    whole, broker = _whole(name, source.address), _login(f"{name}.sensors")
    with holding(workspace.lock(f"camera@{name}"), wait=False), ExitStack() as running:
        from forgeline.faces import FaceFinder

        watch = _Watch(FaceFinder())
        running.callback(watch.end)
        readings = _Readings(name)
        if source.sensors:
            running.callback(readings.listen(source.sensors, broker))
        recorder = _Recorder(name, source, stop, watch, readings)
        print(f"camera {name}: recording {_shown(source.address)} into {recorder.folder}", flush=True)
        recorder.record(whole)
    print(f"camera {name}: stopped; {recorder.segments} segments", flush=True)
    return recorder.segments


# Where the camera is -------------------------------------------------------------------------------------------------


def _login(name: str) -> tuple[str, str] | None:
    """User and password of a camera or a broker, if there are such."""
    told = os.environ.get(LOGIN_FILE)
    if not told:
        return None
    path = Path(told).expanduser().absolute()
    todo = f"point {LOGIN_FILE} to a file outside the checkout, of mode 600, with a line `{name} user:password`"
    if path.resolve().is_relative_to(Path.cwd()):
        raise KeyFileError(path, "lies in the checkout", todo)
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode) or stat.S_IMODE(mode) & 0o077:
                raise KeyFileError(path, f"has mode {stat.S_IMODE(mode):o}, so that others may read it", todo)
            lines = file.read(100_000).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(path, f"can't be read ({getattr(error, 'strerror', None) or 'not UTF-8'})", todo) from None
    for line in lines:
        whose, _, login = line.strip().partition(" ")
        user, colon, password = login.strip().partition(":")
        if whose == name:
            if not colon:
                raise KeyFileError(path, f"holds no user:password for {name}", todo)
            return user, password
    return None


def _whole(name: str, address: str) -> str:
    """The address with the login in it. Never to be printed."""
    login = _login(name)
    if address.startswith("/"):
        return address
    places = "{user}" in address or "{password}" in address
    if login is None:
        if places:
            raise KeyFileError(f"sources.{name}.address", "asks for a login", f"write it into the file that {LOGIN_FILE} names")
        return address
    user, password = (quote(part, safe="") for part in login)
    if places:
        return address.replace("{user}", user).replace("{password}", password)
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{user}:{password}@{rest}"


def _shown(address: str) -> str:
    """The address without anything that could be secret."""
    parts = urlsplit(address)
    return address if address.startswith("/") else f"{parts.scheme}://{parts.netloc}{parts.path}"


@contextmanager
def _connected(address: str, source: Camera) -> Iterator[Any]:
    """The camera's streams. Only what params name is opened: no redirects of HTTP, no playlists that lead elsewhere."""
    with ExitStack() as opened:
        times: dict[str, Any] = {"timeout": (OPEN_S, READ_S)}
        options = {"analyzeduration": "2000000", "fpsprobesize": "0"}
        if address.startswith("rtsp:"):
            options |= {"protocol_whitelist": "rtsp,rtp,udp,tcp", "rtsp_transport": source.transport, "buffer_size": "4000000"}
            container = av.open(address, format="rtsp", options=options, **times)
        elif address.startswith("http:"):
            options |= {"protocol_whitelist": "http,tcp", "max_redirects": "0"}
            container = av.open(address, format="mpjpeg", options=options, **times)
        elif stat.S_ISCHR(os.stat(address).st_mode):
            container = av.open(address, format="video4linux2", **times)
        else:
            file = opened.enter_context(Path(address).open("rb"))
            container = av.open(file, options={"format_whitelist": _FILES, "protocol_whitelist": "file"})
        yield opened.enter_context(container)


def _is_film(address: str) -> bool:
    """Whether it is a file, which has an end and is shown as fast as it was filmed."""
    return address.startswith("/") and Path(address).is_file()


def _why(error: BaseException) -> str:
    """A reason that doesn't hold the address, as FFmpeg's messages do."""
    return str(getattr(error, "strerror", None) or type(error).__name__).splitlines()[0]


# Recording -----------------------------------------------------------------------------------------------------------


class _Recorder:
    def __init__(self, name: str, source: Camera, stop: threading.Event, watch: "_Watch", readings: "_Readings") -> None:
        self._name, self._source, self._stop, self._watch, self._readings = name, source, stop, watch, readings
        self.folder = workspace.RAW / name
        self.segments = 0
        self._room_at = 0.0
        self._unread: tuple[str, bytes] | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            half = path.name.startswith(PART)
            alone = path.suffix == TOLD and STAMP.fullmatch(path.stem) and not path.with_suffix(SUFFIX).exists()
            if half or alone:  # a kill, in the middle of a segment or at its end
                path.unlink()
        self._kept = sum(size for _, size in self._there())

    def record(self, address: str) -> None:
        """Until `stop`, or the end of a file; a camera that is lost is waited for."""
        pause, said, lost_at = PAUSE_S, "", 0.0
        while not self._stop.is_set():
            began = self.segments
            why = ""
            try:
                with _connected(address, self._source) as container:
                    if said:
                        print(f"camera {self._name}: back after {time.monotonic() - lost_at:.0f} s", flush=True)
                        said = ""
                    self._take(container, paced=_is_film(address))
                    if _is_film(address) or self._stop.is_set():
                        return
                    why = "it ended the stream"
            except (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError):
                todo = f"write `{self._name} user:password` into the file that {LOGIN_FILE} names"
                raise SourceError(f"sources.{self._name}.address", "the camera refuses the login", todo) from None
            except (_LostError, av.error.FFmpegError, OSError) as error:
                why = str(error) if isinstance(error, _LostError) else _why(error)
                if address.startswith("/") and (_is_film(address) or self.segments == 0):
                    raise SourceError(address, f"can't be recorded ({why})", "see that it is there and can be read") from None
            pause = PAUSE_S if self.segments > began else pause
            if why != said:  # not once a minute for a weekend
                said, lost_at = why, lost_at if said else time.monotonic()
                print(f"camera {self._name}: lost ({why}); trying to have it back", flush=True)
            self._stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _take(self, container: Any, paced: bool) -> None:
        """Write what comes from one connection."""
        video, sound = self._streams(container)
        as_it_comes = container.format.name == "mpjpeg"  # whose pictures have no times of their own
        segment: _Segment | None = None
        self._watch.forget()
        try:
            zero: tuple[float, float] | None = None
            last = 0.0
            for packet in self._packets(container, [stream for stream in (video, sound) if stream]):
                if self._stop.is_set():
                    break
                if not packet.size or (packet.pts is None and not as_it_comes):
                    continue
                at = time.time() if as_it_comes else float(packet.pts * packet.time_base)
                if paced:
                    zero = zero or (time.time(), at)
                    sent = at if packet.dts is None else float(packet.dts * packet.time_base)
                    self._stop.wait(max(0.0, zero[0] + sent - zero[1] - time.time()))
                if packet.stream is video:
                    if segment and abs(at - last) > _JUMP_S:
                        raise _LostError("its clock jumped")
                    last = at
                    if packet.is_keyframe and (segment is None or at - segment.zero >= self._source.segment_s):
                        if segment:
                            self._keep(segment)
                            segment = None
                        self._source.require_recording(self._name, datetime.now(UTC).date())
                        segment = _Segment(self.folder, video, sound, at)
                    if segment and at - segment.zero > _OVERDUE * self._source.segment_s + 1:
                        raise _LostError("it sends no key pictures")
                if segment and at >= segment.zero:
                    try:
                        self._watch.offer(segment, segment.write(packet, at))
                    except av.error.FFmpegError as error:
                        _unwritten(self.folder, error)
                    self._room(segment.bytes)
        finally:
            if segment:
                self._keep(segment)

    def _streams(self, container: Any) -> tuple[Any, Any]:
        if not container.streams.video or container.streams.video[0].codec_context is None:
            raise _LostError("it sends no pictures")
        video = container.streams.video[0]
        codec = video.codec_context.name
        if codec not in {*_AS_SENT, "rawvideo"}:
            where = f"sources.{self._name}"
            raise SourceError(where, f"the camera sends {codec}", f"set it to one of {', '.join(sorted(_AS_SENT))}")
        usable = [s for s in container.streams.audio if s.codec_context is not None and s.codec_context.name in _SOUND]
        return video, usable[0] if usable else None

    def _packets(self, container: Any, streams: Sequence[Any]) -> Iterator[Any]:
        try:
            yield from container.demux(streams)
        except av.error.FFmpegError as error:
            raise _LostError(_why(error)) from None

    def _keep(self, segment: "_Segment") -> None:
        """Give a segment its name, after the file beside it is there; one of a single picture is no segment."""
        try:
            segment.close()
            if segment.pictures < 2:
                return
            began, ended = segment.zero + segment.ahead, segment.last + segment.ahead
            while (path := self.folder / f"{_stamp(began)}{SUFFIX}").exists():  # the clock was put back
                began, ended = began + 0.001, ended + 0.001
            lines = [canonical({"began": _iso(began), "ended": _iso(ended)})]
            lines += [canonical(seen | {"time": _iso(at + segment.ahead)}) for at, seen in self._watch.take(segment)]
            lines += [canonical(reading) for reading in self._readings.take(began, ended)]
            told = path.with_suffix(TOLD)
            write_text(told, "\n".join(lines) + "\n")
            with segment.part.open("rb+") as file:
                os.fsync(file.fileno())
            size = segment.part.stat().st_size + told.stat().st_size
            segment.part.replace(path)
            self.segments += 1
            self._kept += size
        except (OSError, av.error.FFmpegError) as error:
            _unwritten(self.folder, error)
        finally:
            segment.part.unlink(missing_ok=True)

    def _there(self) -> list[tuple[Path, int]]:
        """The segments, oldest first, and their sizes with what is beside them."""
        found = []
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            if STAMP.fullmatch(path.stem):
                told = path.with_suffix(TOLD)
                found.append((path, path.stat().st_size + (told.stat().st_size if told.exists() else 0)))
        return found

    def _room(self, growing: int) -> None:
        """Delete the oldest segments that nobody named until everything, with what is being written, fits into `keep_gb`."""
        limit = self._source.keep_gb * 1e9
        if self._kept + growing <= limit or time.monotonic() < self._room_at:
            return
        there = self._there()
        self._kept = sum(size for _, size in there)
        with ExitStack() as alone:
            try:
                for stage in ("scan", "ingest"):
                    alone.enter_context(holding(workspace.lock(f"{stage}@{self._name}"), wait=False))
            except LockedError:
                if self._kept + growing <= _PUT_OFF * limit:
                    self._room_at = time.monotonic() + 1
                    return
            named = self._named()
            if named is None and self._kept + growing <= _PUT_OFF * limit:
                self._room_at = time.monotonic() + 1
                return
            if named is None:
                todo = "save it as comma-separated values in UTF-8, or raise keep_gb"
                raise FactoryError(self.folder / PEOPLE, "can't be read, so that no segment may make way for new ones", todo)
            for path, size in there:
                if self._kept + growing <= limit:
                    break
                if path.stem not in named:
                    path.unlink(missing_ok=True)
                    path.with_suffix(TOLD).unlink(missing_ok=True)
                    self._kept -= size
        if self._kept + growing > limit:
            what = f"is full of segments that are named in {PEOPLE} or being recorded"
            raise FactoryError(f"sources.{self._name}.keep_gb", what, "raise it, or move segments to another source")

    def _named(self) -> set[str] | None:
        """The segments, without suffix, that occur in people.csv, however a spreadsheet saved it; None where it is no text."""
        data = b""
        try:
            data = (self.folder / PEOPLE).read_bytes()
            text = data.decode("utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")
            why = "it is no text" if "\0" in text else ""  # UTF-16 without its mark can be read as UTF-8
        except FileNotFoundError:
            return set()
        except UnicodeDecodeError:
            why = "it is neither UTF-8 nor UTF-16"
        except OSError as error:
            why = _why(error)
        if not why:
            self._unread = None
            return set(STAMP.findall(text))
        if self._unread != (why, data):  # not every second
            self._unread = why, data
            print(f"camera {self._name}: {PEOPLE} can't be read ({why}); no segment is deleted until it can", flush=True)
        return None


class _Segment:
    """A segment as it is written. Its `zero` and `last` are by the camera's clock; `ahead` is what UTC is ahead of that.

    The least that any packet came after its time is how far apart the clocks are: what is sent in one go at the beginning,
    and what the network holds up, comes later.
    """

    def __init__(self, folder: Path, video: Any, sound: Any, zero: float) -> None:
        self.part = folder / f"{PART}{os.getpid()}-camera{SUFFIX}"
        self.zero = self.last = zero
        self.ahead = float("inf")
        self.pictures = self.bytes = 0
        self._sent: dict[int, int] = {}
        self._container = av.open(str(self.part), "w", format="matroska")
        self._encoder: Any = None
        if video.codec_context.name == "rawvideo":
            encoding = Encoding(preset="veryfast")
            options = {"crf": str(encoding.crf), "preset": encoding.preset, "tune": "zerolatency", "threads": "1"}
            self._encoder = self._container.add_stream("libx264", rate=video.guessed_rate or 25, options=options)
            self._encoder.width, self._encoder.height = video.codec_context.width & ~1, video.codec_context.height & ~1
            self._encoder.pix_fmt, self._encoder.codec_context.time_base = "yuv420p", _TICK
        streams = {video.index: self._encoder or self._container.add_stream_from_template(video)}
        self._pcm: Any = None
        if sound and sound.codec_context.name in _COMPANDED:
            self._pcm = self._container.add_stream("pcm_s16le", rate=sound.rate, layout=sound.layout.name)
        if sound:
            streams[sound.index] = self._pcm or self._container.add_stream_from_template(sound)
        self._streams = streams
        self._video = video.index
        self.codec = "h264" if self._encoder else video.codec_context.name
        self.extradata = None if self._encoder else video.codec_context.extradata
        if self._encoder:
            self._container.start_encoding()
            self.extradata = self._encoder.codec_context.extradata

    def write(self, packet: Any, at: float) -> list[tuple[float, bytes, bool]]:
        """Add a packet of time `at`; what was written of the picture: times, data, whether it is a key picture."""
        self.ahead = min(self.ahead, time.time() - at)
        if packet.stream.index != self._video:
            for each in self._expanded(packet) if self._pcm else [packet]:
                self._mux(each, at, self._streams[packet.stream.index])
            return []
        self.last = max(self.last, at)
        self.pictures += 1
        written = []
        for each in self._encoded(packet, at) if self._encoder else [packet]:
            written.append((at, bytes(each), each.is_keyframe))
            self._mux(each, at, self._streams[self._video])
        return written

    def _encoded(self, packet: Any, at: float) -> Iterable[Any]:
        for frame in packet.decode():
            shown = frame.reformat(self._encoder.width, self._encoder.height, "yuv420p")
            shown.pts, shown.time_base = round((at - self.zero) * 1000), _TICK
            yield from self._encoder.encode(shown)

    def _expanded(self, packet: Any) -> Iterable[Any]:
        for frame in packet.decode():
            frame.pts = None
            yield from self._pcm.encode(frame)

    def _mux(self, packet: Any, at: float, stream: Any) -> None:
        pts = round((at - self.zero) * 1000)
        behind = 0 if packet.dts is None or packet.pts is None else round((packet.pts - packet.dts) * packet.time_base * 1000)
        dts = max(pts - behind, self._sent.get(stream.index, -(10**9)) + 1)
        self._sent[stream.index] = dts
        packet.stream = stream
        packet.time_base, packet.pts, packet.dts = _TICK, max(pts, dts), dts
        self.bytes += packet.size + 64
        self._container.mux(packet)

    def close(self) -> None:
        """Write what is left."""
        self._container.close()


def _unwritten(folder: Path, error: OSError | av.error.FFmpegError) -> NoReturn:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise FactoryError(folder, "could not be written: the disk is full", "free some space and run again") from None
    raise _LostError(f"what it sends can't be written: {_why(error)}") from None


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(round(at * 1000) / 1000, UTC)


def _iso(at: float) -> str:
    return _utc(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _stamp(at: float) -> str:
    return f"{_utc(at):%Y%m%dT%H%M%S}.{_utc(at).microsecond // 1000:03}Z"


# What goes on meanwhile ----------------------------------------------------------------------------------------------


class _Watch:
    """Follows faces in a thread of its own: a face that lies where one lay in the picture before has that one's number."""

    def __init__(self, finder: "FaceFinder") -> None:
        self._finder = finder
        self._queue: Queue[tuple[_Segment, float, bytes, bool] | None] = Queue(_WAITING)
        self._lock = threading.Lock()
        self._waiting = 0
        self._lost = False
        self._seen: list[tuple[_Segment, float, dict[str, Any]]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def offer(self, segment: _Segment, packets: Iterable[tuple[float, bytes, bool]]) -> None:
        """Have packets looked at if there is time; after one that was passed over, only from the next key picture on."""
        for at, data, key in packets:
            if self._lost and not key:
                continue
            with self._lock:
                self._lost = self._waiting + len(data) > _WAITING_BYTES
                if not self._lost:
                    try:
                        self._queue.put_nowait((segment, at, data, key))
                        self._waiting += len(data)
                    except Full:
                        self._lost = True

    def take(self, segment: _Segment) -> list[tuple[float, dict[str, Any]]]:
        """What was seen in a segment up to now, in order of time. What is seen of it later is of no use to anyone."""
        with self._lock:
            taken = [(at, seen) for of, at, seen in self._seen if of is segment]
            self._seen.clear()
        return sorted(taken, key=lambda each: each[0])

    def forget(self) -> None:
        """Drop what waits: another connection begins."""
        with self._lock:
            self._seen.clear()
            while True:
                try:
                    self._queue.get_nowait()
                except Empty:
                    break
            self._waiting = 0
            self._lost = True

    def end(self) -> None:
        """End the thread."""
        self.forget()
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        decoder: Any = None
        of: _Segment | None = None
        faces: list[tuple[int, Face]] = []
        numbers, looked = 0, float("-inf")
        while item := self._queue.get():
            segment, at, data, key = item
            with self._lock:
                self._waiting = max(0, self._waiting - len(data))
            if segment is not of:
                of, decoder, looked = segment, _decoder(segment), float("-inf")
            packet = av.Packet(data)
            packet.pts, packet.time_base = round(at * 1e6), Fraction(1, 1_000_000)
            packet.is_keyframe = key
            try:
                frames = decoder.decode(packet)
            except av.error.FFmpegError:
                continue
            for frame in frames:
                shown = at if frame.pts is None else frame.pts / 1e6
                if shown < looked + 1 / LOOKS or self._queue.qsize() > _WAITING // 10:
                    continue
                looked = shown
                faces, numbers = _numbered(self._finder.find(picture_of(frame)), faces, numbers)
                boxes = [{"box": [round(float(v), 1) for v in face.box], "id": number} for number, face in faces]
                with self._lock:
                    self._seen.append((segment, shown, {"faces": boxes}))


def _decoder(segment: _Segment) -> Any:
    decoder = av.CodecContext.create(segment.codec, "r")
    decoder.extradata = segment.extradata
    decoder.thread_count = 1
    return decoder


def _numbered(
    found: Sequence["Face"], before: Sequence[tuple[int, "Face"]], numbers: int
) -> tuple[list[tuple[int, "Face"]], int]:
    """The faces with their numbers, and the highest number so far."""
    from forgeline.boxes import overlap

    left = list(before)
    now = []
    for face in found:
        same = max(left, key=lambda each: overlap(each[1].box, face.box), default=None)
        if same is not None and overlap(same[1].box, face.box) > 0.3:
            left.remove(same)
            now.append((same[0], face))
        else:
            numbers += 1
            now.append((numbers, face))
    return now, numbers


class _Readings:
    """What sensors said, with the time at which it came."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._last: dict[str, tuple[float, float]] = {}
        self._new: deque[tuple[float, str, float]] = deque(maxlen=_READINGS)

    def listen(self, sensors: Sensors, login: tuple[str, str] | None) -> Any:
        """Subscribe, in a thread that connects again by itself; what ends it. A broker that is away holds up nothing."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        names: dict[str, list[str]] = {}
        for name, topic in sensors.topics.items():
            names.setdefault(topic, []).append(name)
        client = Client(CallbackAPIVersion.VERSION2)
        if login:
            client.username_pw_set(*login)
        client.reconnect_delay_set(1, 60)

        def connected(client: Any, data: object, flags: object, reason: Any, properties: object) -> None:
            if reason.is_failure:
                print(f"camera {self._name}: the broker refuses ({reason})", flush=True)
            else:
                client.subscribe([(topic, 0) for topic in names])

        def came(client: object, data: object, message: Any) -> None:
            if message.retain:  # of a time that nobody knows
                return
            for name in names.get(message.topic, ()):
                value = reading(message.payload, name)
                if value is not None:
                    with self._lock:
                        self._new.append((time.time(), name, value))

        client.on_connect, client.on_message = connected, came
        host, _, port = sensors.broker.rpartition(":") if _has_port(sensors.broker) else (sensors.broker, "", "1883")
        client.connect_async(host.strip("[]"), int(port))
        client.loop_start()

        def end() -> None:
            client.disconnect()
            client.loop_stop()

        return end

    def take(self, began: float, ended: float) -> list[Mapping[str, Any]]:
        """The readings of a segment and the last before it, in order of time; later ones are kept for the next."""
        with self._lock:
            came = list(self._new)
            self._new.clear()
            self._new.extend(each for each in came if each[0] > ended)
        within = []
        for at, name, value in came:
            if at <= began:
                self._last[name] = at, value
            elif at <= ended:
                within.append((at, name, value))
        told = sorted([(at, name, value) for name, (at, value) in self._last.items()] + within)
        self._last |= {name: (at, value) for at, name, value in within}
        return [{"sensor": name, "time": _iso(at), "value": value} for at, name, value in told]


def _has_port(broker: str) -> bool:
    return ":" in broker.rpartition("]")[2]


_WORDS = {"on": 1.0, "true": 1.0, "open": 1.0, "detected": 1.0, "off": 0.0, "false": 0.0, "closed": 0.0, "clear": 0.0}


def reading(payload: bytes, name: str) -> float | None:
    """The number in a message: as text, as on or off, or as the member `name` of a JSON object; None where there is none."""
    if len(payload) > 10_000:
        return None
    try:
        text = payload.decode().strip()
        told: Any = text if text.lower() in _WORDS else json.loads(text)
        if isinstance(told, dict):
            told = told.get(name)
        value = _WORDS[told.lower()] if isinstance(told, str) and told.lower() in _WORDS else float(told)
    except (ValueError, TypeError, RecursionError, OverflowError):
        return None
    return value if abs(value) < 1e12 else None
