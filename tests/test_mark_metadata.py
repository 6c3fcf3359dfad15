"""The open tag: written so that others can read it, read so that nobody can harm us."""

import struct
import xml.etree.ElementTree as ET
import zlib
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from forgeline.errors import MediaError, ParamsError
from forgeline.image import write_image
from watermark.metadata import PNG_KEYWORD, SOURCE_TYPES, Tag, add_to_flac, append_to_mp4, packet, parse, read_tag

texts = st.text(st.characters(codec="utf-8"), max_size=60).filter(lambda text: text.isprintable() and text == text.strip())
tags = st.builds(Tag, texts, st.sampled_from(sorted(SOURCE_TYPES)), texts, st.lists(texts, max_size=4).map(tuple), texts)
TAG = Tag("0123456789abcdef0123", "digitalCreation", 'CC BY 4.0 & "more" <here>', ("research", "training"), "faces <one>")
MP4 = struct.pack(">I4s4s", 12, b"ftyp", b"isom") + struct.pack(">I4s", 8, b"mdat")
HEADS = [
    b"\x89PNG\r\n\x1a\n",
    MP4,
    b"",
    b"\xff\xd8\xff\xe1",
    b"RIFF\0\0\0\0WEBPXMP ",
    b"fLaC\x04",
    b"ID3\x04\0\0\0\0\0\x00fLaC",
]
UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")


@given(tags)
def test_a_packet_gives_its_tag_back(tag: Tag) -> None:
    assert parse(packet(tag).encode()) == tag


@given(tags)
def test_packets_are_padded_to_a_fixed_step(tag: Tag) -> None:
    assert len(packet(tag).encode()) % 2048 == 0


def test_another_xml_reader_finds_the_iptc_source_type() -> None:
    root = ET.fromstring(packet(TAG))
    found = root.find(".//{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert found is not None
    assert found.text == "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCreation"
    terms = root.find(".//{http://ns.adobe.com/xap/1.0/rights/}UsageTerms")
    assert terms is not None
    assert "".join(terms.itertext()) == TAG.licence


def test_simple_properties_are_read_as_attributes_too() -> None:
    """Other tools rewrite XMP in that form."""
    value = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCreation"
    text = packet(TAG)
    for name, simple in (("Iptc4xmpExt:DigitalSourceType", value), ("forgeline:SampleId", TAG.sample_id)):
        element = f"<{name}>{simple}</{name}>"
        assert element in text
        text = text.replace(element, "").replace('rdf:about=""', f'rdf:about="" {name}="{simple}"')
    assert parse(text.encode()) == TAG


def test_png_and_mp4_give_the_tag_back(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8), {PNG_KEYWORD: packet(TAG)})
    assert read_tag(tmp_path / "a.png") == TAG
    with Image.open(tmp_path / "a.png") as image:
        assert image.info[PNG_KEYWORD] == packet(TAG)
    (tmp_path / "a.mp4").write_bytes(MP4)
    append_to_mp4(tmp_path / "a.mp4", TAG)
    written = (tmp_path / "a.mp4").read_bytes()
    assert written.startswith(MP4)
    assert written[len(MP4) + 4 : len(MP4) + 24] == b"uuid" + UUID
    assert read_tag(tmp_path / "a.mp4") == TAG


def test_a_packet_of_before_releases_were_named_is_read() -> None:
    element = "<forgeline:Release>faces &lt;one&gt;</forgeline:Release>\n"
    assert element in packet(TAG)
    assert parse(packet(TAG).replace(element, "").encode()) == replace(TAG, release="")


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_tags_that_other_programs_wrote_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    image = Image.new("RGB", (8, 8))
    image.save(path, xmp=packet(TAG).encode(), exif=image.getexif())
    assert read_tag(path) == TAG
    image.save(path)
    assert read_tag(path) is None


def test_a_wav_gives_its_tag(tmp_path: Path) -> None:
    """By its XMP chunk (XMP specification part 3), behind one of odd length."""
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(100), 16000)
    xmp = packet(TAG).encode()
    path.write_bytes(path.read_bytes() + b"odd \1\0\0\0x\0" + b"_PMX" + struct.pack("<I", len(xmp)) + xmp)
    assert read_tag(path) == TAG


def test_flac_takes_a_tag_and_keeps_its_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    sound = np.random.default_rng(1).normal(0, 0.1, 5000)
    soundfile.write(path, sound, 16000)
    before, _ = soundfile.read(path)
    for tag in (TAG, replace(TAG, sample_id="another")):
        add_to_flac(path, tag)
        assert read_tag(path) == tag
        assert path.read_bytes().count(b"XMP=") == 1
        assert np.array_equal(soundfile.read(path)[0], before)
    with av.open(path) as file:
        assert file.metadata["XMP"] == packet(replace(TAG, sample_id="another"))
    path.write_bytes(b"no FLAC")
    with pytest.raises(MediaError, match="is no FLAC file"):
        add_to_flac(path, TAG)


@pytest.mark.parametrize(
    "hostile",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd">',
        b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>",
        b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" * 3,
        b"\0" * 10,
    ],
)
def test_hostile_packets_are_no_tags(hostile: bytes) -> None:
    assert parse(packet(TAG).encode()) == TAG
    assert parse(hostile + packet(TAG).encode().lstrip(b"\xef\xbb\xbf")) is None


def test_a_document_type_is_refused_even_where_all_else_is_right() -> None:
    whole = packet(TAG)
    head, body = whole.split("?>\n", 1)
    assert parse(f"{head}?>\n{body}".encode()) == TAG
    assert parse(f"{head}?>\n<!DOCTYPE x>{body}".encode()) is None


def test_an_oversized_packet_is_not_even_parsed() -> None:
    assert parse(packet(TAG).encode() + b" " * (1 << 16)) is None


@given(st.binary(max_size=300))
def test_no_bytes_make_the_parser_fail(noise: bytes) -> None:
    assert parse(noise) is None
    middle = packet(TAG).encode()
    parse(middle[: len(noise)] + noise + middle[len(noise) :])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(HEADS), st.integers(0, 2500))
def test_no_file_makes_the_reader_fail_or_hang(tmp_path: Path, noise: bytes, head: bytes, cut: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(head + noise)
    assert read_tag(path) is None
    path.write_bytes(MP4)
    append_to_mp4(path, TAG)
    path.write_bytes(path.read_bytes()[:cut])  # cut off
    assert read_tag(path) in (None, TAG)


@pytest.mark.parametrize("length", [0, 1, 7])
def test_boxes_of_strange_length_end_the_search(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(MP4 + struct.pack(">I4s", length, b"free") + b"\0" * 8)
    append_to_mp4(path, TAG)
    assert read_tag(path) is None


def test_a_large_box_is_stepped_over(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(MP4 + struct.pack(">I4sQ", 1, b"mdat", 16 + 5) + b"12345")
    append_to_mp4(path, TAG)
    assert read_tag(path) == TAG


def test_png_chunks_that_lie_about_their_length_are_survived(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    body = b"iTXt" + PNG_KEYWORD.encode() + b"\0\0\0\0\0" + packet(TAG).encode()
    chunk = struct.pack(">I", (1 << 32) - 1) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    assert read_tag(path) is None


def test_a_tag_that_could_not_come_back_is_refused() -> None:
    with pytest.raises(ValueError, match="no IPTC"):
        Tag("a", "deepfake", "", ())
    for text in ("a\nb", " a", "a\x00", "a\ud800"):
        with pytest.raises(ParamsError):
            Tag(text, "digitalCreation", "", ())
        with pytest.raises(ParamsError):
            Tag("a", "digitalCreation", "", (), text)
