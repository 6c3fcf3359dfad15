"""What a file says about itself in the open: an XMP packet with the IPTC source type, the sample's id, terms and release.

Anyone can strip or forge it, so it is a courtesy to readers; the mark in the picture is what is relied on. A signed
manifest is made from the same `Tag`, over the finished file (`watermark.credentials`).
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat
from xml.sax.saxutils import escape

from forgeline.errors import MediaError, ParamsError
from forgeline.files import replacing

SOURCE_TYPES = {
    "digitalCapture": "Digital capture sampled from real life",
    "computationalCapture": "Multi-frame computational capture sampled from real life",
    "negativeFilm": "Digitised from a transparent negative",
    "positiveFilm": "Digitised from a transparent positive",
    "print": "Digitised from a non-transparent medium",
    "humanEdits": "Human-edited media",
    "compositeWithTrainedAlgorithmicMedia": "Edited using Generative AI",
    "algorithmicallyEnhanced": "Algorithmically-altered media",
    "digitalCreation": "Digital creation",
    "dataDrivenMedia": "Data-driven media",
    "trainedAlgorithmicMedia": "Created using Generative AI",
    "algorithmicMedia": "Pure algorithmic media",
    "screenCapture": "Screen capture",
    "virtualRecording": "Virtual event recording",
    "composite": "Composite of elements",
    "compositeCapture": "Composite of captured elements",
    "compositeSynthetic": "Composite including generative AI elements",
}
"""Id and name of the IPTC's digital source types, as of 2024-10-23, without retired ones."""

VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""What comes before an id of SOURCE_TYPES in its URI."""

PNG_KEYWORD = "XML:com.adobe.xmp"
"""The iTXt keyword of XMP in PNG (XMP specification part 3)."""

_MP4_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
_JPEG_NAME = b"http://ns.adobe.com/xap/1.0/\0"
_FLAC_COMMENTS = 4  # the kind of a metadata block
_LARGEST = 1 << 16  # bytes of a packet; ours have two thousand
_MOST_BOXES = 10_000
_PADDED = 2048

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_RIGHTS = "http://ns.adobe.com/xap/1.0/rights/"
_OURS = "urn:forgeline:xmp:1#"


@dataclass(frozen=True)
class Tag:
    """What a file says openly: its sample, the process it came from (of SOURCE_TYPES), what may be done with it, and the
    name of the release that it was made for (empty: none).

    ParamsError for text that XMP can't hold, ValueError for another source type.
    """

    sample_id: str
    source_type: str
    licence: str
    permitted_use: tuple[str, ...]
    release: str = ""

    def __post_init__(self) -> None:
        if self.source_type not in SOURCE_TYPES:
            raise ValueError(f"{self.source_type!r} is no IPTC digital source type")
        for text in (self.sample_id, self.licence, *self.permitted_use, self.release):
            # Other characters have no place in XML, or might not come back as they were.
            if not text.isprintable() or text != text.strip():
                raise ParamsError(
                    repr(text), "has characters that a tag can't hold", "write it in one line, without control codes"
                )


def packet(tag: Tag) -> str:
    """The XMP packet of a tag, padded so that its length tells nothing about the sample."""
    uses = "".join(f"<rdf:li>{escape(use)}</rdf:li>" for use in tag.permitted_use)
    body = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{_IPTC}" xmlns:xmpRights="{_RIGHTS}" xmlns:forgeline="{_OURS}">
<Iptc4xmpExt:DigitalSourceType>{VOCABULARY}{tag.source_type}</Iptc4xmpExt:DigitalSourceType>
<forgeline:SampleId>{escape(tag.sample_id)}</forgeline:SampleId>
<forgeline:Release>{escape(tag.release)}</forgeline:Release>
<xmpRights:UsageTerms><rdf:Alt><rdf:li xml:lang="x-default">{escape(tag.licence)}</rdf:li></rdf:Alt></xmpRights:UsageTerms>
<forgeline:PermittedUse><rdf:Bag>{uses}</rdf:Bag></forgeline:PermittedUse>
</rdf:Description></rdf:RDF></x:xmpmeta>
"""
    end = '<?xpacket end="w"?>'
    return body + " " * (-len((body + end).encode()) % _PADDED) + end


def parse(xmp: bytes) -> Tag | None:
    """The tag in an XMP packet, or None where it holds none of ours. Hostile input is refused, never expanded."""
    if len(xmp) > _LARGEST:
        return None
    found: dict[str, list[str]] = {}
    path: list[str] = []
    text: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        text.clear()
        if name == f"{_RDF} Description":  # simple properties may be written as attributes
            for key, value in attributes.items():
                found.setdefault(key, []).append(value)

    def end(name: str) -> None:
        owner = next((part for part in reversed(path) if not part.startswith(_RDF)), name)
        if name == owner or name == f"{_RDF} li":
            found.setdefault(owner, []).append("".join(text))
        path.pop()
        text.clear()

    def refuse(*_: object) -> None:
        raise ValueError("a document type has no place in XMP")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(xmp, True)
        return Tag(
            sample_id=found[f"{_OURS} SampleId"][0],
            source_type=found[f"{_IPTC} DigitalSourceType"][0].removeprefix(VOCABULARY),
            licence=found[f"{_RIGHTS} UsageTerms"][0],
            permitted_use=tuple(found[f"{_OURS} PermittedUse"][:-1]),  # the last text is the bag's own, empty
            release=found.get(f"{_OURS} Release", [""])[0],
        )
    except (expat.ExpatError, ParamsError, ValueError, KeyError, IndexError):
        return None


def append_to_mp4(path: Path, tag: Tag) -> None:
    """Add the tag's packet at the end of an MP4, as a `uuid` box (XMP specification part 3), so that nothing moves."""
    xmp = packet(tag).encode()
    with path.open("ab") as file:
        file.write(struct.pack(">I4s16s", 24 + len(xmp), b"uuid", _MP4_UUID) + xmp)


def add_to_flac(path: Path, tag: Tag) -> None:
    """Put the tag's packet into a FLAC file, as a Vorbis comment named XMP in place of the comments that are there.

    MediaError for what is no FLAC file.
    """
    data = path.read_bytes()
    at, blocks = 4, []
    while data[:4] == b"fLaC" and at + 4 <= len(data):
        kind, end = data[at] & 0x7F, at + 4 + int.from_bytes(data[at + 1 : at + 4])
        if kind != _FLAC_COMMENTS:
            blocks.append((kind, data[at + 4 : end]))
        last, at = data[at] & 0x80, end
        if last:
            break
    else:
        raise MediaError(path, "is no FLAC file", "report it")
    comment = b"XMP=" + packet(tag).encode()
    blocks.append((_FLAC_COMMENTS, struct.pack("<III", 0, 1, len(comment)) + comment))
    headers = [bytes([kind]) + len(block).to_bytes(3) + block for kind, block in blocks[:-1]]
    kind, block = blocks[-1]
    headers.append(bytes([kind | 0x80]) + len(block).to_bytes(3) + block)
    with replacing(path) as part:
        part.write_bytes(b"fLaC" + b"".join(headers) + data[at:])


def read_tag(path: Path) -> Tag | None:
    """The tag in a PNG, JPEG, WebP, MP4, FLAC or WAV file, or None.

    Only the structure around the packet is read, whatever the file's size, and nothing in it makes this fail.
    """
    with path.open("rb") as file:
        head = file.read(12)
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            packets = _png_packets(file)
        elif head.startswith(b"\xff\xd8"):
            packets = _jpeg_packets(file)
        elif head.startswith(b"RIFF"):
            packets = _riff_packets(file)
        elif head.startswith((b"fLaC", b"ID3")):
            packets = _flac_packets(file)
        else:
            packets = _mp4_packets(file)
        return next((tag for tag in map(parse, packets) if tag), None)


def _mp4_packets(file: BinaryIO) -> Iterator[bytes]:
    size = os.fstat(file.fileno()).st_size
    at = 0
    for _ in range(_MOST_BOXES):
        file.seek(at)
        header = file.read(24)
        if len(header) < 16:
            return
        length, kind = struct.unpack(">I4s", header[:8])
        if length == 1:
            length = struct.unpack(">Q", header[8:16])[0]
        if kind == b"uuid" and header[8:] == _MP4_UUID and 24 <= length <= 24 + _LARGEST:
            yield file.read(length - 24)
        if not 8 <= length <= size - at:  # 0 means: up to the file's end
            return
        at += length


def _png_packets(file: BinaryIO) -> Iterator[bytes]:
    start = PNG_KEYWORD.encode() + b"\0\0\0\0\0"  # not compressed, no language, no translated keyword
    at = 8
    for _ in range(_MOST_BOXES):
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            return
        length, kind = struct.unpack(">I4s", header)
        if kind == b"iTXt" and len(start) < length <= len(start) + _LARGEST:
            data = file.read(length)
            if data.startswith(start):
                yield data[len(start) :]
        at += 12 + length


def _jpeg_packets(file: BinaryIO) -> Iterator[bytes]:
    at = 2
    for _ in range(_MOST_BOXES):
        file.seek(at)
        header = file.read(4)
        if len(header) < 4 or header[0] != 0xFF or header[1] in (0xD9, 0xDA):  # the picture begins, or all ends
            return
        length = int.from_bytes(header[2:])
        if header[1] == 0xE1:  # APP1
            data = file.read(length - 2 if length > 2 else 0)
            if data.startswith(_JPEG_NAME):
                yield data[len(_JPEG_NAME) :]
        at += 2 + length


def _riff_packets(file: BinaryIO) -> Iterator[bytes]:
    """WebP and WAV: they name the chunk differently."""
    at = 12
    for _ in range(_MOST_BOXES):
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            return
        kind, length = struct.unpack("<4sI", header)
        if kind in (b"XMP ", b"_PMX") and length <= _LARGEST:
            yield file.read(length)
        at += 8 + length + length % 2


def _flac_packets(file: BinaryIO) -> Iterator[bytes]:
    at = 0
    file.seek(0)
    header = file.read(10)
    if header.startswith(b"ID3"):  # signing puts one before the file
        at = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(header[6:], (21, 14, 7, 0), strict=False))
        file.seek(at)
        header = file.read(10)
    if not header.startswith(b"fLaC"):
        return
    at += 4
    for _ in range(_MOST_BOXES):
        file.seek(at)
        header = file.read(4)
        if len(header) < 4:
            return
        length = int.from_bytes(header[1:])
        if header[0] & 0x7F == _FLAC_COMMENTS and length <= 2 * _LARGEST:
            yield from _comments(file.read(length))
        if header[0] & 0x80:  # the last block
            return
        at += 4 + length


def _comments(block: bytes) -> Iterator[bytes]:
    at = 4 + int.from_bytes(block[:4], "little") + 4  # behind the vendor's name and the number of comments
    for _ in range(_MOST_BOXES):
        if at + 4 > len(block):
            return
        length = int.from_bytes(block[at : at + 4], "little")
        comment = block[at + 4 : at + 4 + length]
        if comment[:4].upper() == b"XMP=":
            yield comment[4:]
        at += 4 + length
