"""The watermark's keys: where they may lie, and that no two shards share one."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, hmac

from flows.__main__ import main
from forgeline.errors import KeyFileError
from watermark.keys import DEMO, KEY_FILE, master, masters, new_key, read_key


def test_a_new_key_is_private_and_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mark.key"
    made = new_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setenv(KEY_FILE, str(path))
    assert master(made.id) == made
    assert made.id != new_key(tmp_path / "other.key").id


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o700, 0o622])
def test_a_key_file_that_others_could_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "mark.key"
    new_key(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"mode {mode:o}"):
        read_key(path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"ab" * 31, "64 hexadecimal digits"),
        (b"ab" * 33, "64 hexadecimal digits"),
        (b"zz" * 32, "64 hexadecimal digits"),
        (b"ab " * 32, "64 hexadecimal digits"),
        (b"ab" * 32 + b"\nab", "64 hexadecimal digits"),
        (b"\xff" * 64, "64 hexadecimal digits"),
        (bytes(range(32)), "64 hexadecimal digits"),
    ],
)
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, text: bytes, what: str) -> None:
    path = tmp_path / "mark.key"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=what) as caught:
        read_key(path)
    assert text.hex()[:8] not in str(caught.value) or not text.strip()


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path, what in ((tmp_path / "pipe", "is no file"), (tmp_path, "no key file"), (tmp_path / "none", "No such file")):
        with pytest.raises(KeyFileError, match=what):
            read_key(path)


def test_a_missing_unnamed_or_other_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_FILE, raising=False)
    with pytest.raises(KeyFileError, match="is not set"):
        master("0123456789ab")
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "none.key"))
    with pytest.raises(KeyFileError, match="no key file"):
        master("0123456789ab")
    made = new_key(tmp_path / "mark.key")
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "mark.key"))
    with pytest.raises(KeyFileError, match=f"holds key {made.id}"):
        master("0123456789ab")


def test_old_keys_stay_at_hand_beside_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = new_key(tmp_path / "old.key"), new_key(tmp_path / "new.key")
    monkeypatch.delenv(KEY_FILE, raising=False)
    assert masters() == [master(DEMO)]
    monkeypatch.setenv(KEY_FILE, os.pathsep.join(str(tmp_path / name) for name in ("new.key", "old.key", "new.key")))
    assert masters() == [new, old, master(DEMO)]
    assert (master(old.id), master(new.id)) == (old, new)
    # Data that were marked before the rotation: the shard's key follows from the row's mark_key_id alone.
    key_id = old.shard("blend_swap-train-0000").id
    assert master(key_id.split("/")[0]).shard(key_id.split("/")[1]) == old.shard("blend_swap-train-0000")
    with pytest.raises(KeyFileError, match=f"holds key {new.id} and {old.id}, not '0123456789ab'"):
        master("0123456789ab")


def test_no_key_file_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = new_key(tmp_path / "mark.key")
    monkeypatch.setenv(KEY_FILE, f"{tmp_path / 'mark.key'}{os.pathsep}{tmp_path / 'gone.key'}")
    for ask in (masters, lambda: master(made.id)):
        with pytest.raises(KeyFileError, match=r"gone\.key: is no key file"):
            ask()
    assert master(DEMO).id == DEMO


def test_a_key_is_never_made_over_a_file_or_in_a_checkout(tmp_path: Path) -> None:
    path = tmp_path / "mark.key"
    new_key(path)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="can't be made"):
        new_key(path)
    assert path.read_bytes() == before
    subprocess.run(["git", "init", "-q", tmp_path / "work"], check=True)
    (tmp_path / "work" / "deep").mkdir()
    with pytest.raises(KeyFileError, match="git checkout"):
        new_key(tmp_path / "work" / "deep" / "mark.key")


def test_shard_keys_follow_rfc_5869_and_differ() -> None:
    key = master(DEMO)

    def hmac_sha256(secret: bytes, text: bytes) -> bytes:
        mac = hmac.HMAC(secret, hashes.SHA256())
        mac.update(text)
        return mac.finalize()

    # One block of HKDF, written out: extract with a salt of zeros, then expand.
    extracted = hmac_sha256(bytes(32), key.secret)
    shard = key.shard("blend_swap/007")
    assert shard.secret == hmac_sha256(extracted, b"forgeline mark 1/shard/blend_swap/007\x01")
    assert shard.layout == hmac_sha256(extracted, b"forgeline mark 1/layout\x01")
    assert shard.layout == key.shard("other").layout
    assert len({key.shard(name).secret for name in ("a", "b", "a/b", "")} | {shard.layout}) == 5
    assert shard.id == "demo/blend_swap/007"


def test_keys_are_not_printed(tmp_path: Path) -> None:
    key = new_key(tmp_path / "mark.key")
    shown = f"{key!r} {key} {key.shard('a')!r} {key.id}"
    assert key.secret.hex() not in shown
    assert repr(key.secret) not in shown
    assert repr(key.shard("a").secret) not in shown


def test_the_command_names_the_older_keys_behind_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = new_key(tmp_path / "old.key")
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "old.key"))
    monkeypatch.chdir(tmp_path)
    assert main(["key", "new", "new.key"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("export "))
    value, _, rest = line.removeprefix(f"export {KEY_FILE}=").partition(", ")
    monkeypatch.setenv(KEY_FILE, value)
    monkeypatch.chdir("/")  # what it says holds anywhere
    new, *others = masters()
    assert f"`key: {new.id}`" in rest
    assert others == [old, master(DEMO)]
