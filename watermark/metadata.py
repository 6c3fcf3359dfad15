"""What a file says about itself in the open: an XMP packet with the IPTC source type, the sample's id and its terms.

Anyone can strip or forge it, so it is a courtesy to readers; the mark in the picture is what is relied on. A signed
manifest (C2PA) would be made from the same `Tag`, over the finished file.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import escape

from forgeline.errors import ParamsError

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
"""Id and name of the IPTC's digital source types: http://cv.iptc.org/newscodes/digitalsourcetype/, as of 2024-09-17."""

PNG_KEYWORD = "XML:com.adobe.xmp"
"""The iTXt keyword of XMP in PNG (XMP specification part 3)."""

_MP4_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
_LARGEST = 1 << 16  # bytes of a packet; ours have two thousand
_MOST_BOXES = 10_000
_PADDED = 2048

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_RIGHTS = "http://ns.adobe.com/xap/1.0/rights/"
_OURS = "urn:forgeline:xmp:1#"
_VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@dataclass(frozen=True)
class Tag:
    """What a file says openly: its sample, the process it came from (of SOURCE_TYPES), and what may be done with it.

    ParamsError for text that XMP can't hold, ValueError for another source type.
    """

    sample_id: str
    source_type: str
    licence: str
    permitted_use: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.source_type not in SOURCE_TYPES:
            raise ValueError(f"{self.source_type!r} is no IPTC digital source type")
        for text in (self.sample_id, self.licence, *self.permitted_use):
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
<Iptc4xmpExt:DigitalSourceType>{_VOCABULARY}{tag.source_type}</Iptc4xmpExt:DigitalSourceType>
<forgeline:SampleId>{escape(tag.sample_id)}</forgeline:SampleId>
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
            source_type=found[f"{_IPTC} DigitalSourceType"][0].removeprefix(_VOCABULARY),
            licence=found[f"{_RIGHTS} UsageTerms"][0],
            permitted_use=tuple(found[f"{_OURS} PermittedUse"][:-1]),  # the last text is the bag's own, empty
        )
    except (expat.ExpatError, ParamsError, ValueError, KeyError, IndexError):
        return None


def append_to_mp4(path: Path, tag: Tag) -> None:
    """Add the tag's packet at the end of an MP4, as a `uuid` box (XMP specification part 3), so that nothing moves."""
    xmp = packet(tag).encode()
    with path.open("ab") as file:
        file.write(struct.pack(">I4s16s", 24 + len(xmp), b"uuid", _MP4_UUID) + xmp)


def read_tag(path: Path) -> Tag | None:
    """The tag in a PNG or MP4 file, or None. Only the structure around the packet is read, whatever the file's size."""
    with path.open("rb") as file:
        head = file.read(8)
        packets = _png_packets(path) if head == b"\x89PNG\r\n\x1a\n" else _mp4_packets(path)
    return next((tag for tag in map(parse, packets) if tag), None)


def _mp4_packets(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
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


def _png_packets(path: Path) -> Iterator[bytes]:
    start = PNG_KEYWORD.encode() + b"\0\0\0\0\0"  # not compressed, no language, no translated keyword
    with path.open("rb") as file:
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
