"""Signed manifests: what they say, whom they convince, and what becomes of them in other hands."""

import io
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import av
import c2pa
import numpy as np
import pytest
import soundfile
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from forgeline.errors import KeyFileError, MediaError, PromiseError
from tests.pki import Authority, issue
from watermark.credentials import (
    FORMATS,
    PICTURE_MARK,
    SAMPLE,
    SOUND_MARK,
    Signer,
    Statement,
    content_of,
    read_credentials,
    sign_pixel,
    sign_sample,
    signer,
    trust_anchors,
)
from watermark.metadata import Tag, add_to_flac, append_to_mp4, packet, read_tag

TAG = Tag("0123456789abcdef0123", "compositeCapture", "CC BY 4.0", ("research", "detection"), "faces one")
STATEMENT = Statement(
    tag=TAG,
    marks=((PICTURE_MARK, "00ab12cd34"), (SOUND_MARK, "00ab12cd34")),
    mark_key_id="demo/blend_swap-val-0000",
    parents=("a" * 20, "b" * 20),
    found=("mark demo/control-val-0000/0123456789",),
)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def who(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signer:
    for name, value in authority.env(tmp_path / "pki").items():
        monkeypatch.setenv(name, value)
    found = signer()
    assert found
    return found


def media(folder: Path, suffix: str) -> Path:
    """A small tagged file of a kind."""
    path = folder / f"plain{suffix}"
    noise = np.random.default_rng(1).integers(0, 255, (32, 32, 3), np.uint8)
    if suffix in (".png", ".jpg", ".jpeg", ".webp"):
        Image.fromarray(noise).save(path, **({} if suffix == ".png" else {"xmp": packet(TAG).encode()}))
    elif suffix == ".mp4":
        with av.open(path, "w") as out:
            stream = out.add_stream("libx264", rate=25, options={"threads": "1"})
            stream.width = stream.height = 32
            for picture in (noise, None):
                out.mux(stream.encode(None if picture is None else av.VideoFrame.from_ndarray(picture)))
        append_to_mp4(path, TAG)
    else:
        soundfile.write(path, np.sin(np.arange(8000) / 20) / 2, 16000)
        if suffix == ".flac":
            add_to_flac(path, TAG)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_kind_of_file_is_signed_and_reads_back(who: Signer, tmp_path: Path, suffix: str) -> None:
    plain, signed = media(tmp_path, suffix), tmp_path / f"signed{suffix}"
    sign_sample(plain, signed, STATEMENT, who)
    found = read_credentials(signed)
    assert (found.state, found.failures, found.signer) == ("trusted", (), "Test Lab, Test Signer")
    assert found.title == TAG.sample_id
    assert found.actions == (
        ("c2pa.opened", None),
        ("c2pa.placed", None),
        ("c2pa.edited", "compositeCapture"),
        ("c2pa.watermarked.bound", None),
    )
    assert found.ingredients == (
        ("parentOf", f"sample {'a' * 20}"),
        ("componentOf", f"sample {'b' * 20}"),
        ("inputTo", "mark demo/control-val-0000/0123456789"),
    )
    assert found.bindings == STATEMENT.marks
    assert found.claims[SAMPLE] == {
        "sample_id": TAG.sample_id,
        "release": "faces one",
        "licence": "CC BY 4.0",
        "permitted_use": ["research", "detection"],
        "mark_key_id": "demo/blend_swap-val-0000",
    }
    assert signed.stat().st_size - plain.stat().st_size < 6000
    assert read_tag(signed) == read_tag(plain)
    assert read_credentials(plain).state == "none"


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".mp4", ".flac"])
def test_an_edited_tag_breaks_the_credentials(who: Signer, tmp_path: Path, suffix: str) -> None:
    signed = tmp_path / f"signed{suffix}"
    sign_sample(media(tmp_path, suffix), signed, STATEMENT, who)
    signed.write_bytes(signed.read_bytes().replace(b"research</rdf:li>", b"business</rdf:li>"))
    tag = read_tag(signed)
    assert tag
    assert tag.permitted_use == ("business", "detection")
    assert read_credentials(signed).state == "invalid"


def test_signing_leaves_pictures_and_sound_as_they_are(who: Signer, tmp_path: Path) -> None:
    for suffix in (".png", ".flac"):
        plain, signed = media(tmp_path, suffix), tmp_path / f"signed{suffix}"
        sign_sample(plain, signed, STATEMENT, who)
        if suffix == ".png":
            with Image.open(plain) as before, Image.open(signed) as after:
                assert before.tobytes() == after.tobytes()
        else:
            assert np.array_equal(soundfile.read(plain)[0], soundfile.read(signed)[0])


@pytest.mark.parametrize(
    ("statement", "actions"),
    [
        (Statement(TAG), ["c2pa.created"]),
        (Statement(TAG, marks=((PICTURE_MARK, "00ab"),)), ["c2pa.created", "c2pa.watermarked.bound"]),
        (Statement(TAG, parents=("a",), changed=False), ["c2pa.opened", "c2pa.transcoded"]),
        (Statement(TAG, parents=("a",)), ["c2pa.opened", "c2pa.edited"]),
    ],
)
def test_actions_follow_from_how_it_was_made(who: Signer, tmp_path: Path, statement: Statement, actions: list[str]) -> None:
    sign_sample(media(tmp_path, ".png"), tmp_path / "signed.png", statement, who)
    found = read_credentials(tmp_path / "signed.png")
    assert found.state == "trusted"
    assert [name for name, _ in found.actions] == actions
    assert [kind for _, kind in found.actions if kind] == ["compositeCapture"]


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)],
    ids=["P-384", "Ed25519", "RSA"],
)
def test_other_keys_sign_too(authority: Authority, tmp_path: Path, key: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in authority.env(tmp_path, authority.leaf(key=key)).items():
        monkeypatch.setenv(name, value)
    found = signer()
    assert found
    sign_pixel(tmp_path / "a.png", "title", "org.example.any", {"a": 1}, found)
    assert read_credentials(tmp_path / "a.png").claims == {"org.example.any": {"a": 1}}


# ------------------------------------------------------------------------------------------------------------ who is trusted


def test_valid_is_not_trusted(who: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "signed.png"
    sign_sample(media(tmp_path, ".png"), path, STATEMENT, who)
    stranger = issue("Another Root", ca=True).pem
    for anchors in ("", stranger):
        found = read_credentials(path, anchors)
        assert (found.state, found.failures) == ("untrusted", ("signingCredential.untrusted",))
        assert found.claims[SAMPLE]["sample_id"] == TAG.sample_id
    monkeypatch.delenv("FORGELINE_TRUST_ANCHORS")
    assert read_credentials(path).state == "untrusted"


def test_a_certificate_that_has_run_out_vouches_no_more(who: Signer, authority: Authority, tmp_path: Path) -> None:
    soon = authority.leaf(until=timedelta(seconds=1.5))
    brief = replace(who, chain=(soon.pem + authority.between.pem).encode(), key=soon.secret.encode())
    path = tmp_path / "signed.png"
    sign_sample(media(tmp_path, ".png"), path, STATEMENT, brief)
    end = time.monotonic() + 30
    while (found := read_credentials(path)).state == "trusted":
        assert time.monotonic() < end
    assert found.state == "untrusted"
    assert "signingCredential.expired" in found.failures, "alone, where it ran out while it was looked at"


def test_what_would_not_be_trusted_is_not_written(who: Signer, authority: Authority, tmp_path: Path) -> None:
    plain, path = media(tmp_path, ".png"), tmp_path / "signed.png"
    path.write_bytes(b"an older file")
    for bad in (replace(who, anchors=issue("Another Root", ca=True).pem), replace(who, key=authority.leaf().secret.encode())):
        with pytest.raises(PromiseError, match=r"reads back as (untrusted|invalid)"):
            sign_sample(plain, path, STATEMENT, bad)
    assert path.read_bytes() == b"an older file"


def test_kinds_that_carry_no_credentials(who: Signer, tmp_path: Path) -> None:
    (tmp_path / "a.webm").write_bytes(b"\x1aE\xdf\xa3")
    with pytest.raises(MediaError, match="can't carry credentials"):
        sign_sample(tmp_path / "a.webm", tmp_path / "b.webm", STATEMENT, who)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(MediaError, match="can't be signed"):
        sign_sample(tmp_path / "a.png", tmp_path / "b.png", STATEMENT, who)
    assert not (tmp_path / "b.png").exists()
    assert read_credentials(tmp_path / "a.webm").state == "none"


# ------------------------------------------------------------------------------------------------------- files in other hands


@pytest.fixture(scope="module")
def signed_once(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    """A signed PNG, and the root to trust."""
    folder = tmp_path_factory.mktemp("signed")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in authority.env(folder / "pki").items():
            patch.setenv(name, value)
        found = signer()
        assert found
        sign_sample(media(folder, ".png"), folder / "signed.png", STATEMENT, found)
        return (folder / "signed.png").read_bytes(), trust_anchors()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120, deadline=None)
@given(data=st.data())
def test_a_changed_bit_says_nothing_else(signed_once: tuple[bytes, str], tmp_path: Path, data: st.DataObject) -> None:
    """The manifest has some padding that nobody reads; everywhere else, a changed bit ends the trust."""
    whole, anchors = signed_once
    path = tmp_path / "file.png"
    path.write_bytes(whole)
    before = read_credentials(path, anchors)
    at = data.draw(st.integers(0, 8 * len(whole) - 1))
    changed = bytearray(whole)
    changed[at // 8] ^= 1 << at % 8
    path.write_bytes(changed)
    found = read_credentials(path, anchors)
    start = whole.index(b"caBX")
    end = start + 4 + int.from_bytes(whole[start - 4 : start])
    if start + 4 <= at // 8 < end:
        assert found.state in ("invalid", "none") or found == before
    else:
        assert found.state in ("invalid", "none")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(cut=st.floats(0, 0.999), more=st.binary(max_size=30))
def test_a_cut_or_mended_file_is_not_trusted(signed_once: tuple[bytes, str], tmp_path: Path, cut: float, more: bytes) -> None:
    whole, anchors = signed_once
    path = tmp_path / "file"
    path.write_bytes(whole[: int(cut * len(whole))] + more)
    assert read_credentials(path, anchors).state in ("invalid", "none")


@given(noise=st.binary(max_size=200), head=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF", b"fLaC", b"ID3"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
def test_any_bytes_can_be_asked(tmp_path: Path, noise: bytes, head: bytes) -> None:
    (tmp_path / "file").write_bytes(head + noise)
    assert read_credentials(tmp_path / "file", "").state in ("invalid", "none")


def test_saving_again_strips_and_copying_breaks(signed_once: tuple[bytes, str], tmp_path: Path) -> None:
    whole, anchors = signed_once
    with Image.open(io.BytesIO(whole)) as image:
        image.save(tmp_path / "again.png")
        other = Image.fromarray(255 - np.asarray(image))
    assert read_credentials(tmp_path / "again.png", anchors).state == "none"
    start = whole.index(b"caBX") - 4
    manifest = whole[start : start + 12 + int.from_bytes(whole[start : start + 4])]
    other.save(tmp_path / "other.png")
    plain = (tmp_path / "other.png").read_bytes()
    (tmp_path / "other.png").write_bytes(plain[:33] + manifest + plain[33:])  # behind the header, where it was
    found = read_credentials(tmp_path / "other.png", anchors)
    assert (found.state, found.failures) == ("invalid", ("assertion.dataHash.mismatch",))


def test_no_manifest_is_fetched(who: Signer, tmp_path: Path) -> None:
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        builder = c2pa.Builder({"title": "elsewhere", **content_of(STATEMENT)})
        builder.set_no_embed()
        builder.set_remote_url(f"http://127.0.0.1:{server.server_port}/manifest")
        native = c2pa.Signer.from_info(c2pa.C2paSignerInfo(who.algorithm, who.chain, who.key, None))
        with media(tmp_path, ".png").open("rb") as plain, (tmp_path / "a.png").open("w+b") as out:
            builder.sign(native, "image/png", plain, out)
        found = read_credentials(tmp_path / "a.png")
        server.shutdown()
    assert (found.state, found.failures) == ("none", ("its manifest is kept elsewhere, and was not fetched",))
    assert not asked


def test_texts_of_strangers_are_cleaned(who: Signer, tmp_path: Path) -> None:
    data: dict[str, Any] = {"a\x1b": ["\x1b[2Jgone\n", {"b": "\u202e"}], "c": 1}
    sign_pixel(tmp_path / "a.png", "title\x07\n", "org.example.any", data, who)
    found = read_credentials(tmp_path / "a.png")
    assert found.title == "title\ufffd\ufffd"
    assert found.claims == {"org.example.any": {"a\ufffd": ["\ufffd[2Jgone\ufffd", {"b": "\ufffd"}], "c": 1}}


# ------------------------------------------------------------------------------------------------------------- certificates


def bad_key(change: Callable[[Path], object]) -> Callable[[Authority, Path], dict[str, str]]:
    def made(authority: Authority, folder: Path) -> dict[str, str]:
        env = authority.env(folder)
        change(folder / "key.pem")
        return env

    return made


def encrypted(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))


def leaf(**settings: Any) -> Callable[[Authority, Path], dict[str, str]]:
    return lambda authority, folder: authority.env(folder, authority.leaf(**settings))


def without(name: str) -> Callable[[Authority, Path], dict[str, str]]:
    return lambda authority, folder: authority.env(folder) | {name: ""}


def unchained(authority: Authority, folder: Path) -> dict[str, str]:
    signs = authority.leaf()
    return authority.env(folder, signs, signs.pem)


def foreign(authority: Authority, folder: Path) -> dict[str, str]:
    env = authority.env(folder)
    (folder / "root.pem").write_text(issue("Another Root", ca=True).pem)
    return env


BAD: dict[str, tuple[Callable[[Authority, Path], dict[str, str]], str]] = {
    "expired": (leaf(until=timedelta(days=-1)), r"chain\.pem: expired on 20..-..-..; have it renewed"),
    "not yet": (leaf(since=timedelta(days=1)), r"chain\.pem: is not valid before"),
    "for servers": (leaf(use=ExtendedKeyUsageOID.SERVER_AUTH), r"can't sign .*the purpose e-mail protection"),
    "for nothing": (leaf(use=None), r"can't sign .*the purpose e-mail protection"),
    "a CA's": (leaf(ca=True), r"can't sign .*not a CA's"),
    "without its chain": (unchained, r"nobody would trust \(signingCredential\.untrusted\).*put the certificates between"),
    "another root": (foreign, r"nobody would trust \(signingCredential\.untrusted\)"),
    "another key": (lambda a, f: a.env(f, chain=a.leaf().pem + a.between.pem), r"is not the certificate of the key"),
    "weak key": (leaf(key=rsa.generate_private_key(65537, 1024)), r"a key of a kind that C2PA doesn't sign with"),
    "key open to others": (bad_key(lambda path: path.chmod(0o644)), r"key\.pem: has mode 644; run `chmod 600 "),
    "key open to the group": (bad_key(lambda path: path.chmod(0o640)), r"key\.pem: has mode 640"),
    "no key": (bad_key(Path.unlink), r"key\.pem: can't be read"),
    "key of nonsense": (bad_key(lambda path: path.write_text("nonsense")), r"key\.pem: holds no private key"),
    "encrypted key": (bad_key(encrypted), r"key\.pem: is encrypted"),
    "no certificates": (lambda a, f: a.env(f, chain="nothing"), r"chain\.pem: holds no certificates"),
    "no key named": (without("FORGELINE_SIGNING_KEY"), r"FORGELINE_SIGNING_KEY: is not set, and FORGELINE_SIGNING_CERT is"),
    "no root named": (without("FORGELINE_TRUST_ANCHORS"), r"FORGELINE_TRUST_ANCHORS: is not set"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_certificate_that_is_no_good_is_refused(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    make, says = BAD[case]
    for name, value in make(authority, tmp_path).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(KeyFileError, match=says) as raised:
        signer()
    secret = (tmp_path / "key.pem").read_text() if (tmp_path / "key.pem").exists() else ""
    assert not any(line in str(raised.value) for line in secret.splitlines() if len(line) > 20)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_certificate_of_the_guide_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (Path(__file__).parents[1] / "docs/provenance.md").read_text()
    (commands,) = [each for each in re.findall(r"```sh\n(.*?)```", guide, re.DOTALL) if "openssl" in each]
    subprocess.run(["sh", "-ec", commands], cwd=tmp_path, check=True, capture_output=True)
    names = {"SIGNING_CERT": "signer.pem", "SIGNING_KEY": "signer.key", "TRUST_ANCHORS": "root.pem"}
    for variable, name in names.items():
        monkeypatch.setenv(f"FORGELINE_{variable}", str(tmp_path / name))
    found = signer()
    assert found
    sign_pixel(tmp_path / "a.png", "title", "org.example.any", {}, found)
    assert read_credentials(tmp_path / "a.png").signer == "Our Lab, Our Lab Forgeline"


def test_nobody_signs_where_nothing_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORGELINE_SIGNING_CERT", raising=False)
    assert signer() is None


def test_the_key_is_not_shown(who: Signer) -> None:
    assert "KEY" in who.key.decode()
    assert "KEY" not in f"{who!r} {who!s}"


def test_roots_that_are_none_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELINE_TRUST_ANCHORS", str(tmp_path / "missing.pem"))
    with pytest.raises(KeyFileError, match="point FORGELINE_TRUST_ANCHORS to a PEM file"):
        trust_anchors()
    monkeypatch.setenv("FORGELINE_TRUST_ANCHORS", os.devnull)
    with pytest.raises(KeyFileError, match="holds no certificates"):
        trust_anchors()
