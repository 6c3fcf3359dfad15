"""What a finished file shows beside its content: how it was written, how it is coded, what its untouched part looks like.

None of it is the forgery, so none of it may tell the classes apart (`evaluators.shortcuts` asks whether it does):

- `form` are facts that nothing of the content decides, such as codec, size and quantisation tables: a pair has the same.
- `coding` are numbers that the content has a part in, such as bytes by kind of picture; `heard` those of the sound.
- `background` looks at both files of a pair where neither was changed.
- `crop` is where in the picture the face lies, and how large; `whole` what can be asked of pictures of different scenes.

Some numbers are the forgery's own, whatever the chain does: their names begin with `TRAIT`, they are told, and fail nothing.

Nothing is held but a few pictures at a time. What can't be read is a MediaError.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from re import sub
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from forgeline.audio import open_sound
from forgeline.clip import MediaType, Picture
from forgeline.errors import MediaError
from forgeline.faces import CONFIDENCE, Face, FaceFinder
from forgeline.hearing import traits
from forgeline.image import open_image
from forgeline.mesh import LEFT_EYE_CORNER, RIGHT_EYE_CORNER
from forgeline.video import open_video, read_masks

Plane = NDArray[np.float32]
Numbers = dict[str, float]

MARGIN = 16
"""Pixels round what was changed that are not looked at either: encoders work in blocks of 16, and carry what they saw along."""

LOOKS, SIDE = 4, 32
"""How many pieces of the background of a pair are kept for a net, and their side in pixels."""

TRAIT = "trait: "
"""How the names of numbers begin that belong to the forgery."""

MOMENTS, RUN = 3, 3
"""At how many moments of a film the face is looked at, evenly from its beginning to its end, and in how many pictures each."""

_TWO = 2  # pictures in a row of a film's background, so that what flickers is seen
_SKIP = 8  # pictures that are rather decoded than sought past
_ENC_PARAMS = ((0, 4, np.uint32), (8, 24, np.uint64), (28, 32, np.int32))  # blocks; where they begin, bytes of each; quantiser
_LEAST = 0.05  # of the picture, else there is no background to speak of
_STEP = 16
_KINDS = {1: "key", 2: "predicted", 3: "between"}  # FFmpeg's I, P, B
_PNG, _BOXES = b"\x89PNG\r\n\x1a\n", {"moov", "mdat", "ftyp", "uuid", "free", "moof", "sidx", "meta", "skip", "mfra", "styp"}


@dataclass(frozen=True)
class Background:
    """The untouched part of both files of a pair: first the fake's, then its control's.

    `numbers` are the same for both where they look the same. `grain` int8 (2, LOOKS, 1, SIDE, SIDE): pieces after a high-pass,
    in units of half a level; `view` uint8 (2, 1, 3, SIDE, SIDE): the whole first picture's luma and colours, small, 0 where it
    was changed. Both None where too little is untouched, and the numbers are NaN then.
    """

    numbers: tuple[Numbers, Numbers]
    grain: NDArray[np.int8] | None
    view: NDArray[np.uint8] | None


def form(path: Path, media_type: MediaType) -> dict[str, str]:
    """How the file is written, fact by fact; what its own tags say (terms, process) is not among it. Raises MediaError.

    Of a PNG the order of its chunks and how hard it was deflated, of a JPEG its tables and subsampling; of an mp4 its boxes, of
    every stream codec, sizes, times, colours and the settings that an encoder left in it.
    """
    facts = {"name": sub("[0-9a-f]{20}", "<id>", path.name)}
    return facts | (_image_form(path) if media_type == "image" else _stream_form(path))


def coding(path: Path, media_type: MediaType) -> Numbers:
    """How a film's pictures are coded; nothing for images, whose bytes are their content. Raises MediaError.

    By kind of picture (key, predicted, between): its share, the logarithm of its bytes for a pixel, and the quantiser.
    """
    return dict(_coding(path)) if media_type == "video" else {}


def heard(path: Path, media_type: MediaType) -> Numbers:
    """`forgeline.hearing.traits` of the file's sound; nothing where there is none. Raises MediaError."""
    if media_type == "image":
        return {}
    sound = (open_sound if media_type == "audio" else open_video)(path).sound()
    return asdict(traits(sound)) if sound is not None else {}


def crop(path: Path, media_type: MediaType, finder: FaceFinder) -> Numbers:
    """How the largest face lies in its picture; a confidence of 0 alone where none is found. Raises MediaError.

    `size` is the logarithm of the face's width, measured along the line of the eyes where no mouth or chin moves it, by the
    picture's shorter side; `across` and `down` are where the middle between the outer corners of the eyes lies, as shares of
    the sides. Of films these are means over the moments, and `change of size` and `change of place` (in widths) their
    deviation. Traits are the detector's confidence, and of films `landmark jitter`: the logarithm of the mean second difference
    of all points over three pictures in a row, in widths.
    """
    sure, sizes, places, jitters = [], [], [], []
    known: Face | None = None
    for run in _runs(path, media_type):
        sure.append(finder.confidence(run[0]))
        meshes = []
        if known is not None:  # of some moments ago: a pass to get where it is now
            known = finder.follow(run[0], known)
        for picture in run:
            face = finder.follow(picture, known) if known is not None else None
            if face is None or face.score < CONFIDENCE:
                face = next(iter(finder.find(picture)), None)
            known = face
            if face is not None:
                meshes.append(face.mesh[:, :2].astype(np.float64))
        if not meshes:
            continue
        height, width = run[0].shape[:2]
        side = _width(meshes[0])
        sizes.append(np.log2(side / min(height, width)))
        places.append((meshes[0][LEFT_EYE_CORNER] + meshes[0][RIGHT_EYE_CORNER]) / 2 / (width, height))
        if len(meshes) == len(run) >= 3:
            twice = np.diff(meshes, 2, axis=0)
            jitters.append(float(np.linalg.norm(twice, axis=2).mean()) / side)
    found = {f"{TRAIT}detector confidence": float(np.mean(sure)) if sure else 0.0}
    if sizes:
        middles = np.array(places)
        found |= {"size": float(np.mean(sizes)), "across": float(middles[:, 0].mean()), "down": float(middles[:, 1].mean())}
    if len(sizes) > 1:
        found["change of size"] = float(np.std(sizes))
        found["change of place"] = float(np.linalg.norm(middles.std(0)) / 2 ** np.mean(sizes))
    if jitters:
        found[f"{TRAIT}landmark jitter"] = _log(float(np.mean(jitters)))
    return found


def whole(path: Path) -> Numbers:
    """What can be asked of an image whose control shows another scene. Raises MediaError.

    `blocks` is by how much steps every 8 pixels, from 0 on, are larger than from any other beginning: what a JPEG leaves, and a
    net that paints seldom. Brightness, colours and detail are traits of who painted it, and so are grids of 2, 8 and 16 as
    such: nets that double their size step by step leave them, too.
    """
    (seen,) = _looked_at(path, "image")
    numbers = _numbers(seen, np.ones(seen.luma.shape, np.bool_))
    grids = [[numbers.get(f"{kind}grid of 8 {axis}", 0.0) for kind in ("", "shifted ")] for axis in ("columns", "rows")]
    stands_out = max(min(here - elsewhere for here, elsewhere in grids), 0.0)
    return {"blocks": stands_out} | {f"{TRAIT}{name}": value for name, value in numbers.items()}


def background(fake: Path, control: Path, masks: Sequence[Path], media_type: MediaType) -> Background:
    """Compare two films or images of one scene outside of all that any of the masks says was changed, and `MARGIN` around.

    Of films, two pictures in a row are looked at in the beginning, in the middle and at the end, and masks of all pictures
    count for all of them: an encoder carries a face on into what it uncovers. Measured of luma as it is coded, each a mean over
    pictures: energies in octaves and between neighbours (what scaling and filters change), odd against even columns and rows
    and 8 x 8 and 16 x 16 grids (what other codecs left), gaps in the histogram, brightness, contrast, colours and their grain,
    flicker, and the quantiser there.
    """
    both = [_looked_at(path, media_type) for path in (fake, control)]
    numbers: list[list[Numbers]] = [[], []]
    last: list[Plane | None] = [None, None]
    grain, view = None, None
    clear: NDArray[np.bool_] | None = None
    for at, seen in enumerate(zip(*both, strict=False)):  # a film that is shorter has another form, and is found by that
        shape = seen[1].luma.shape
        if seen[0].luma.shape != shape:
            break
        if clear is None:
            clear = _clear(masks, shape, media_type)
            if clear.mean() < _LEAST:
                break
            pieces = _pieces(clear)
            view = np.stack([_view(each, clear) for each in seen])[:, None]
            grain = np.stack([_grain(each.luma, pieces) for each in seen]) if pieces else None
        for member, each in enumerate(seen):
            found = _numbers(each, clear)
            previous = last[member]
            if at % 2 and previous is not None:
                found["flicker"] = _log(float(np.abs(each.luma - previous)[clear].mean()))
            numbers[member].append(found)
            last[member] = each.luma
    means = tuple(_mean(each) for each in numbers)
    return Background((means[0], means[1]), grain, view)


# ------------------------------------------------------------------------------------------------------------ how it is written


def _image_form(path: Path) -> dict[str, str]:
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP", "BMP", "TIFF")) as file:
            facts = {"format": str(file.format), "pixels": file.mode, "size": f"{file.width}x{file.height}"}
            if isinstance(file, JpegImagePlugin.JpegImageFile):
                facts["tables"] = "; ".join(f"{number}: {list(table)}" for number, table in sorted(file.quantization.items()))
                facts["subsampling"] = str(JpegImagePlugin.get_sampling(file))
                facts["progressive"] = str(bool(file.info.get("progressive")))
            file.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(path, f"is broken or no picture ({error})", "make it again") from error
    return facts | (_png_form(path) if facts["format"] == "PNG" else {})


def _png_form(path: Path) -> dict[str, str]:
    data, at = path.read_bytes(), len(_PNG)
    chunks: list[str] = []
    facts = {}
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8].decode("latin-1")
        if kind == "IHDR":
            facts["header"] = data[at + 16 : at + 8 + size].hex()  # depth, colours, filters, interlacing
        if kind == "IDAT" and "IDAT" not in chunks:
            facts["deflate"] = data[at + 8 : at + 10].hex()
        if chunks[-1:] != [kind]:
            chunks.append(kind)
        at += size + 12
    return facts | {"chunks": " ".join(chunks)}


@contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    try:
        with (
            path.open("rb") as file,
            av.open(file, options={"protocol_whitelist": "file"}, metadata_errors="replace") as opened,
        ):
            yield opened  # type: ignore[misc]  # without a mode it is an input
    except (av.error.FFmpegError, OSError) as error:
        reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
        raise MediaError(path, f"is broken or cut off ({reason})", "make it again") from error


def _stream_form(path: Path) -> dict[str, str]:
    with _opened(path) as container:
        kinds = {id(stream): f"{stream.type} {number}: " for number, stream in enumerate(container.streams)}
        brands = {name: value for name, value in container.metadata.items() if "brand" in name or name == "encoder"}
        facts = {"container": f"{container.format.name} {brands}", "boxes": _boxes(path)}
        times: dict[int, list[tuple[int, int]]] = {id(stream): [] for stream in container.streams}
        for packet in container.demux():
            if packet.size and packet.pts is not None:
                times[id(packet.stream)].append((packet.pts, packet.duration or 0))
        for stream in container.streams:
            name, seen = kinds[id(stream)], sorted(times[id(stream)])
            context = stream.codec_context
            if context is None or not seen:
                raise MediaError(path, "holds a stream that can't be decoded", "make it again")
            tick = stream.time_base or Fraction(1)
            facts[f"{name}codec"] = f"{context.name} {context.profile} {context.codec_tag}"
            facts[f"{name}begins"] = str(seen[0][0] * tick)
            facts[f"{name}lasts"] = str(sum(duration for _, duration in seen) * tick)
            facts[f"{name}lasts, it says"] = str((stream.duration or 0) * tick)
            if isinstance(context, av.VideoCodecContext):
                facts[f"{name}size"] = f"{context.width}x{context.height}"
                facts[f"{name}pixels"] = f"{context.pix_fmt} {context.color_range} {context.colorspace} {context.color_trc}"
                facts[f"{name}frames"] = str(len(seen))
                facts[f"{name}frames, it says"] = str(stream.frames)
                steps = {after[0] - before[0] for before, after in pairwise(seen)}
                facts[f"{name}ticks"] = f"{tick} {sorted(steps)}"
            elif isinstance(context, av.AudioCodecContext):
                facts[f"{name}form"] = f"{context.rate} {context.layout.name} {context.format.name}"
            facts[f"{name}header"] = bytes(context.extradata or b"").hex() if context.type == "video" else ""
    with _opened(path) as container:
        if container.streams.video:
            first = next(container.decode(container.streams.video[0]), None)
            told = _side(first, "SEI_UNREGISTERED") if first else b""
            facts["encoder"] = told[16:].decode("latin-1").strip("\0")  # x264 says there how it was called; after a UUID
    return facts


def _boxes(path: Path) -> str:
    """The order of an mp4's outermost boxes; nothing for other containers."""
    found = []
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            size, kind = int.from_bytes(head[:4], "big"), head[4:].decode("latin-1")
            if size == 1:
                size = int.from_bytes(file.read(8), "big")
            if kind not in _BOXES or size < 8:
                break
            found.append(kind)
            file.seek(size - 8 if size < 2**32 else size - 16, 1)
    return " ".join(found)


# ------------------------------------------------------------------------------------------------------------- how it is coded


def _coding(path: Path) -> Iterator[tuple[str, float]]:
    sizes: dict[int, int] = {}
    with _opened(path) as container:
        stream = container.streams.video[0]
        promised = stream.frames
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None:
                sizes[packet.pts] = packet.size
    kinds: Counter[str] = Counter()
    bytes_of: Counter[str] = Counter()
    quantiser: defaultdict[str, float] = defaultdict(float)
    pixels = 1
    with _opened(path) as container:
        for frame in _frames(container):
            kind = _KINDS.get(frame.pict_type, "between")
            kinds[kind] += 1
            bytes_of[kind] += sizes.get(frame.pts or 0, 0)
            quantiser[kind] += _quantiser(frame, None) or 0
            pixels = frame.width * frame.height
    count = kinds.total()
    if count < max(len(sizes), promised, 1):
        raise MediaError(path, f"ends after {count} of {max(len(sizes), promised)} pictures", "make it again")
    yield "bytes", _log(sum(sizes.values()) / (count * pixels))
    for kind in _KINDS.values():
        there = kinds[kind]
        yield f"{kind} pictures", there / count
        yield f"{kind} bytes", _log(bytes_of[kind] / (there * pixels)) if there else float("nan")
        yield f"{kind} quantiser", quantiser[kind] / there if there else float("nan")


def _frames(container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"export_side_data": "venc_params"}
    yield from container.decode(stream)


def _quantiser(frame: av.VideoFrame, clear: NDArray[np.bool_] | None) -> float | None:
    """The mean quantiser of a picture's blocks, of those in the clear alone, or None where the codec doesn't tell.

    Laid out as FFmpeg's libavutil/video_enc_params.h has it, for 64 bits.
    """
    data = _side(frame, "VIDEO_ENC_PARAMS")
    if not data:
        return None
    (blocks,), (start, size), (base,) = (np.frombuffer(data[a:b], kind).tolist() for a, b, kind in _ENC_PARAMS)
    if not blocks:
        return float(base)
    table = np.frombuffer(data[start : start + blocks * size], np.int32).reshape(blocks, -1)  # x, y, width, height, difference
    if clear is not None:
        rows, columns = table[:, 1].clip(0, clear.shape[0] - 1), table[:, 0].clip(0, clear.shape[1] - 1)
        table = table[clear[rows, columns]]
    return float(base) + float(table[:, 4].mean()) if len(table) else None


def _side(frame: av.VideoFrame, kind: str) -> bytes:
    """What a decoder says beside a frame's pixels; nothing where it says nothing of the kind."""
    every: list[Any] = list(frame.side_data)  # PyAV's own types take it for a mapping
    return next((bytes(each) for each in every if each.type.name == kind), b"")


# ------------------------------------------------------------------------------------------------------------ what is untouched


@dataclass(frozen=True)
class _Seen:
    """Luma and colours of one picture as they are coded (colours at half size or whole), and its frame, where it has one."""

    luma: Plane
    colours: tuple[Plane, Plane]
    frame: av.VideoFrame | None


def _looked_at(path: Path, media_type: MediaType) -> Iterator[_Seen]:
    if media_type == "image":
        try:
            with Image.open(path) as file:
                planes = np.asarray(file.convert("RGB").convert("YCbCr"), np.float32)
        except (OSError, SyntaxError, ValueError) as error:
            raise MediaError(path, f"is broken or no picture ({error})", "make it again") from error
        yield _Seen(planes[..., 0].copy(), (planes[..., 1].copy(), planes[..., 2].copy()), None)
        return
    for _, frame in _shown(path, lambda frames: [0, frames // 2, frames - _TWO], _TWO):
        luma, blue, red = (_plane(frame, number) for number in range(3))
        yield _Seen(luma, (blue, red), frame)


def _plane(frame: av.VideoFrame, number: int) -> Plane:
    if not frame.format.name.startswith(("yuv420p", "yuvj420p")):
        frame = frame.reformat(format="yuv420p", threads=1)
    plane = frame.planes[number]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width].astype(np.float32)


def _runs(path: Path, media_type: MediaType) -> Iterator[list[Picture]]:
    """The pictures of each moment, in order; a short film has fewer."""
    if media_type == "image":
        yield [next(iter(open_image(path).pictures()))]
        return
    run: list[Picture] = []
    for last, frame in _shown(path, lambda frames: [(frames - RUN) * at // (MOMENTS - 1) for at in range(MOMENTS)], RUN):
        run.append(np.asarray(frame.reformat(format="rgb24", threads=1).to_ndarray(), np.uint8))
        if last:
            yield run
            run = []


def _shown(path: Path, moments: Callable[[int], list[int]], length: int) -> Iterator[tuple[bool, av.VideoFrame]]:
    """So many pictures in a row from each of the moments that are chosen for a film of so many; and whether it is a row's last.

    A film that is too short for a moment goes without it. What lies between is not decoded but for what leads from the key
    picture before.
    """
    with _opened(path) as container:
        stream = container.streams.video[0]
        times = sorted(packet.pts for packet in container.demux(stream) if packet.size and packet.pts is not None)
    begins: list[int] = []
    for at in sorted({max(at, 0) for at in moments(len(times))}):
        if not begins or begins[-1] + length <= at <= len(times) - length:
            begins.append(at)
    with _opened(path) as container:
        stream, frames, now = container.streams.video[0], _frames(container), 0
        for begin in begins:
            if begin > now + _SKIP:
                container.seek(times[begin], stream=stream)
                frames = container.decode(stream)
            now = min(begin + length, len(times))
            for frame in frames:
                if frame.pts is not None and frame.pts >= times[begin]:
                    last = frame.pts >= times[now - 1]
                    yield last, frame
                    if last:
                        break


def _width(mesh: NDArray[np.float64]) -> float:
    along = mesh[LEFT_EYE_CORNER] - mesh[RIGHT_EYE_CORNER]
    across = mesh @ (along / max(float(np.hypot(*along)), 1e-6))
    return max(float(across.max() - across.min()), 1e-6)


def _clear(masks: Sequence[Path], shape: tuple[int, int], media_type: MediaType) -> NDArray[np.bool_]:
    """Where nothing was changed in any looked-at picture, with a margin."""
    changed = np.zeros(shape, np.uint8)
    for path in masks:
        for mask in _masks(path, media_type):
            # Whatever part of a larger mask's pixel is changed, the pixel here is.
            touched = np.asarray(mask > 0, np.uint8)
            if mask.shape != shape:
                touched = np.asarray(cv2.resize(255 * touched, shape[::-1], interpolation=cv2.INTER_AREA) > 0, np.uint8)
            changed |= touched
    side = 2 * MARGIN + 1
    return np.asarray(cv2.dilate(changed, np.ones((side, side), np.uint8)) == 0)


def _masks(path: Path, media_type: MediaType) -> Iterator[NDArray[np.uint8]]:
    if media_type == "image":
        try:
            with Image.open(path) as file:
                yield np.asarray(file.convert("L"))
        except (OSError, SyntaxError, ValueError) as error:
            raise MediaError(path, f"is broken or no mask ({error})", "make it again") from error
        return
    yield from read_masks(path)


def _numbers(seen: _Seen, clear: NDArray[np.bool_]) -> Numbers:
    luma = seen.luma
    inner = np.asarray(cv2.erode(clear.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0)
    if not inner.any():
        inner = clear
    smooth = [luma, *(cv2.GaussianBlur(luma, (0, 0), sigma) for sigma in (0.7, 1.4, 2.8))]
    bands = [float(np.square((fine - coarse)[inner]).mean()) for fine, coarse in pairwise(smooth)]
    edges = np.asarray(cv2.Laplacian(luma, cv2.CV_32F))
    power = float(np.square(edges[inner]).mean()) + 1e-3
    found = {
        "brightness": float(luma[clear].mean()),
        "contrast": _log(float(luma[clear].std())),
        "fine grain": _log(bands[0]) - _log(bands[1]),
        "coarse grain": _log(bands[1]) - _log(bands[2]),
        "noise": _log(float(np.median(np.abs(edges[inner])))),
        "histogram gaps": _gaps(luma[clear]),
    }
    for name, axis in (("columns", 1), ("rows", 0)):
        for distance in (1, 2):
            found[f"likeness of {name} {distance} apart"] = (
                float((edges * np.roll(edges, distance, axis))[inner].mean()) / power
            )
        found |= dict(_grids(luma, inner, name, axis))
    for name, plane in zip(("blue", "red"), seen.colours, strict=True):
        small = inner if plane.shape == inner.shape else inner[::2, ::2][: plane.shape[0], : plane.shape[1]]
        if small.any():
            found[name] = float(plane[small].mean())
            found[f"{name} grain"] = _log(float(np.abs(cv2.Laplacian(plane, cv2.CV_32F)[small]).mean()))
    quantiser = _quantiser(seen.frame, clear) if seen.frame is not None else None
    return found if quantiser is None else found | {"quantiser": quantiser}


def _grids(luma: Plane, inner: NDArray[np.bool_], name: str, axis: int) -> Iterator[tuple[str, float]]:
    """How much larger steps are every 2, 8 and 16 pixels than elsewhere, in the grid that begins at 0 and in any other."""
    steps, there = np.abs(np.diff(luma, axis=axis)), inner.take(range(1, inner.shape[axis]), axis)
    at = np.arange(1, luma.shape[axis])  # step i is between pixels i - 1 and i
    sums, counts = (np.where(there, each, 0).sum(1 - axis) for each in (steps, np.ones_like(steps)))
    for size in (2, 8, 16):
        total, number = (np.bincount(at % size, each, size) for each in (sums, counts))
        if (number > 0).all() and total.sum() > 0:
            steepness = np.log((total / number + 1e-3) / (total.sum() / number.sum() + 1e-3))
            yield f"grid of {size} {name}", float(steepness[0])
            if size == 8:
                yield f"shifted grid of {size} {name}", float(steepness[1:].max())


def _gaps(values: Plane) -> float:
    """How far the histogram's levels are from the mean of their neighbours, as a share of all: high after a stretch."""
    counts = np.bincount(values.astype(np.uint8), minlength=256).astype(np.float64)
    return float(np.abs(counts[1:-1] - (counts[:-2] + counts[2:]) / 2).sum() / counts.sum())


def _pieces(clear: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Top left corners of `LOOKS` pieces that lie in the clear, evenly chosen of all on a grid; none where there are none."""
    height, width = clear.shape
    whole = [
        (top, left)
        for top in range(0, height - SIDE + 1, _STEP)
        for left in range(0, width - SIDE + 1, _STEP)
        if clear[top : top + SIDE, left : left + SIDE].all()
    ]
    return [whole[int((number + 0.5) * len(whole) / LOOKS)] for number in range(LOOKS)] if whole else []


def _grain(luma: Plane, pieces: Sequence[tuple[int, int]]) -> NDArray[np.int8]:
    fine = np.rint(2 * (luma - cv2.GaussianBlur(luma, (0, 0), 1.4))).clip(-127, 127).astype(np.int8)
    return np.stack([fine[top : top + SIDE, left : left + SIDE] for top, left in pieces])[:, None]


def _view(seen: _Seen, clear: NDArray[np.bool_]) -> NDArray[np.uint8]:
    there = cv2.resize(clear.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    planes = []
    for plane in (seen.luma, *seen.colours):
        share = clear if plane.shape == clear.shape else clear[::2, ::2][: plane.shape[0], : plane.shape[1]]
        summed = cv2.resize(np.where(share, plane, np.float32(0)), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        planes.append(np.where(there > 0.5, summed / np.maximum(there, 0.5), 0))
    return np.asarray(np.rint(np.stack(planes)).clip(0, 255), np.uint8)


def _mean(found: Sequence[Mapping[str, float]]) -> Numbers:
    names = dict.fromkeys(name for each in found for name in each)
    return {name: float(np.mean([each[name] for each in found if name in each])) for name in names}


def _log(value: float) -> float:
    return float(np.log2(max(value, 0.0) + 1e-3))
