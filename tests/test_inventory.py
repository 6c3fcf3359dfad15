"""The inventory is exact, deterministic, cheap to renew, and does not follow anything out of the corpus."""

import hashlib
import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forgeline.errors import SourceError
from forgeline.files import replacing
from forgeline.inventory import File, Inventory, load, scan

LONG_AGO = 1_600_000_000


def lay(root: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
        os.utime(root / path, (LONG_AGO, LONG_AGO))
    return root


def test_lists_every_file_in_order_with_its_hash(tmp_path: Path) -> None:
    content = {"b/2.mp4": b"two", "b/1.mp4": b"one", "a.txt": b"", "b-c.mp4": b"x" * 3_000_000, "Zoë/clip 1.mp4": b"z"}
    root = lay(tmp_path / "raw", content)
    made = scan(root, tmp_path / "inventory.jsonl", tmp_path / "cache")
    assert list(made.files) == sorted(content)
    for path, data in content.items():
        assert made.files[path] == File(path, len(data), hashlib.sha256(data).hexdigest())
    assert not made.refused
    assert load(tmp_path / "inventory.jsonl") == made


def test_files_that_are_still_being_written_are_left_out(tmp_path: Path) -> None:
    root = lay(tmp_path / "raw", {"a/1.mp4": b"1"})
    with replacing(root / "a" / "2.mp4") as part:
        part.write_bytes(b"half")
        made = scan(root, tmp_path / "i", tmp_path / "c")
    assert (list(made.files), made.refused) == (["a/1.mp4"], {})
    assert list(scan(root, tmp_path / "i", tmp_path / "c").files) == ["a/1.mp4", "a/2.mp4"]


def test_a_link_to_the_corpus_and_another_place_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        lay(tmp_path / name, {"a/1.mp4": b"1", "b.json": b"{}"})
    (tmp_path / "link").symlink_to(tmp_path / "two")
    scan(tmp_path / "one", tmp_path / "1.jsonl", tmp_path / "c1")
    scan(tmp_path / "link", tmp_path / "2.jsonl", tmp_path / "c2")
    assert (tmp_path / "1.jsonl").read_bytes() == (tmp_path / "2.jsonl").read_bytes()


def test_links_may_not_leave_the_corpus(tmp_path: Path) -> None:
    root = lay(tmp_path / "raw", {"in/1.mp4": b"1"})
    lay(tmp_path / "raw-secret", {"s.mp4": b"secret"})
    (root / "good.mp4").symlink_to("in/1.mp4")
    (root / "up.mp4").symlink_to("../raw-secret/s.mp4")
    (root / "absolute.mp4").symlink_to(tmp_path / "raw-secret" / "s.mp4")
    (root / "folder").symlink_to(tmp_path / "raw-secret")
    (root / "again").symlink_to("in")
    (root / "self").symlink_to("self")
    (root / "nowhere").symlink_to("gone.mp4")
    made = scan(root, tmp_path / "i", tmp_path / "c")
    assert list(made.files) == ["good.mp4", "in/1.mp4"]
    assert made.files["good.mp4"].sha256 == made.files["in/1.mp4"].sha256
    leaves, nowhere = "a link that leaves the corpus", "a link that leads nowhere"
    assert made.refused == {
        "absolute.mp4": leaves,
        "again": "a link to a folder",
        "folder": leaves,
        "nowhere": nowhere,
        "self": nowhere,
        "up.mp4": leaves,
    }


def test_links_in_a_circle_are_refused_and_never_followed(tmp_path: Path) -> None:
    root = lay(tmp_path / "raw", {"in/1.mp4": b"1"})
    (root / "in/up").symlink_to("..")
    (root / "in/here").symlink_to(".")
    (root / "one.mp4").symlink_to("two.mp4")
    (root / "two.mp4").symlink_to("one.mp4")
    made = scan(root, tmp_path / "i", tmp_path / "c")
    assert list(made.files) == ["in/1.mp4"]
    nowhere, folder = "a link that leads nowhere", "a link to a folder"
    assert made.refused == {"in/here": folder, "in/up": folder, "one.mp4": nowhere, "two.mp4": nowhere}


def test_strange_entries_are_refused_with_a_reason(tmp_path: Path) -> None:
    root = lay(tmp_path / "raw", {"ok.mp4": b"1"})
    os.mkfifo(root / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
    with open(os.fsencode(root) + b"/caf\xe9.mp4", "wb"):
        pass
    (root / "new\nline").mkdir()
    (root / "new\nline" / "inner.mp4").touch()
    (root / "back\\slash.mp4").touch()
    made = scan(root, tmp_path / "i", tmp_path / "c")
    assert list(made.files) == ["ok.mp4"]
    assert sorted(made.refused) == [r"back\\slash.mp4", r"caf\udce9.mp4", r"new\nline", "pipe.mp4", "socket"]
    assert load(tmp_path / "i") == made


def test_a_rescan_reads_only_what_changed(tmp_path: Path) -> None:
    root = lay(tmp_path / "raw", {f"{i}.mp4": bytes([i]) for i in range(5)})
    read: dict[str, int] = {}
    scan(root, tmp_path / "i", tmp_path / "c", read.__setitem__)
    assert read == {f"{i}.mp4": 1 for i in range(5)}
    lay(root, {"3.mp4": b"longer"})
    (root / "4.mp4").unlink()
    first = scan(root, tmp_path / "i", tmp_path / "c", read.__setitem__)
    assert {path for path, size in read.items() if size and path != "4.mp4"} == {"3.mp4"}
    assert list(first.files) == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    assert scan(root, tmp_path / "j", tmp_path / "other-cache") == first
    assert (tmp_path / "i").read_bytes() == (tmp_path / "j").read_bytes()


def test_a_file_written_just_now_is_never_trusted_to_its_time(tmp_path: Path) -> None:
    root = lay(tmp_path / "raw", {})
    root.mkdir()
    (root / "1.mp4").write_bytes(b"old")
    stamp = (root / "1.mp4").stat()
    scan(root, tmp_path / "i", tmp_path / "c")
    (root / "1.mp4").write_bytes(b"new")
    os.utime(root / "1.mp4", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert scan(root, tmp_path / "i", tmp_path / "c").files["1.mp4"].sha256 == hashlib.sha256(b"new").hexdigest()


def test_an_interrupted_scan_keeps_what_it_did(tmp_path: Path) -> None:
    root = lay(tmp_path / "raw", {f"{i}.mp4": b"x" for i in range(4)})

    def stop_at_third(path: str, read: int) -> None:
        if path == "2.mp4":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(root, tmp_path / "i", tmp_path / "c", stop_at_third)
    assert not (tmp_path / "i").exists()
    with (tmp_path / "c").open("ab") as cache:
        cache.write(b'{"path": "3.mp4", "by')  # a line that a kill cut short
    read: dict[str, int] = {}
    scan(root, tmp_path / "i", tmp_path / "c", read.__setitem__)
    assert read == {"0.mp4": 0, "1.mp4": 0, "2.mp4": 0, "3.mp4": 1}


def test_a_corpus_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no such folder; put the corpus there"):
        scan(tmp_path / "gone", tmp_path / "i", tmp_path / "c")
    with pytest.raises(SourceError, match="run python -m flows scan"):
        load(tmp_path / "i")


GOOD = json.dumps({"bytes": 1, "path": "a", "sha256": "0" * 64}, separators=(",", ":"))


@given(st.text())
@example(GOOD)
@example(GOOD + "\n" + GOOD + "\n")
@example(GOOD.replace('"a"', '"../a"') + "\n")
@example(GOOD.replace('"a"', '"/a"') + "\n")
@example(GOOD.replace('"bytes":1', '"bytes":true') + "\n")
@example(GOOD.replace('"a"', '"b"') + "\n" + GOOD + "\n")
@example("[" * 100_000 + "\n")
@example("\ufeff" + GOOD + "\n")
def test_an_edited_inventory_is_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "edited.jsonl"
    path.write_text(text, encoding="utf-8", newline="\n")
    if text == "":
        assert load(path) == Inventory({}, {})
    else:
        with pytest.raises(SourceError):
            load(path)
