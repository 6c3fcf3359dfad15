"""Signed releases: shards, proofs of single samples, exports, and what becomes of them."""

import hashlib
import json
import random
import re
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flows import merkle, workspace
from flows.export import export
from flows.params import load_params
from flows.sign import PROVEN, SHARD, SIGNATURES, proven, sign, verify
from forgeline.code import imports
from forgeline.errors import FactoryError, KeyFileError, PromiseError, TermsError
from tests.conftest import ROOT, Checkout
from tests.pki import Authority
from tests.test_layout import MACHINERY, file_of
from watermark.credentials import PICTURE_MARK, SAMPLE, read_credentials, sign_pixel, signer
from watermark.metadata import read_tag

items = st.lists(st.binary(max_size=40), min_size=1, max_size=40)


# ------------------------------------------------------------------------------------------------------------- Merkle trees


def by_definition(some: list[bytes]) -> bytes:
    """The tree hash as RFC 6962, section 2.1 defines it."""
    if len(some) == 1:
        return hashlib.sha256(b"\0" + some[0]).digest()
    half = 1
    while 2 * half < len(some):
        half *= 2
    return hashlib.sha256(b"\1" + by_definition(some[:half]) + by_definition(some[half:])).digest()


def path_by_definition(index: int, some: list[bytes]) -> list[bytes]:
    """The audit path as RFC 6962, section 2.1.1 defines it."""
    if len(some) == 1:
        return []
    half = 1
    while 2 * half < len(some):
        half *= 2
    if index < half:
        return [*path_by_definition(index, some[:half]), by_definition(some[half:])]
    return [*path_by_definition(index - half, some[half:]), by_definition(some[:half])]


def test_the_tree_of_certificate_transparencys_own_tests() -> None:
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    tree = merkle.levels([bytes.fromhex(each) for each in inputs])
    assert tree[-1] == [bytes.fromhex("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328")]


@given(items)
def test_trees_and_paths_are_those_of_the_rfc(some: list[bytes]) -> None:
    tree = merkle.levels(some)
    assert tree[-1] == [by_definition(some)]
    for index, item in enumerate(some):
        path = merkle.path(tree, index)
        assert path == path_by_definition(index, some)
        assert merkle.root_of(item, index, len(some), path) == tree[-1][0]


@given(items, st.data())
def test_no_other_item_place_or_path_leads_to_the_root(some: list[bytes], data: st.DataObject) -> None:
    tree = merkle.levels(some)
    index = data.draw(st.integers(0, len(some) - 1))
    item, path, root = some[index], merkle.path(tree, index), tree[-1][0]
    assert merkle.root_of(item + b"x", index, len(some), path) != root
    assert merkle.root_of(item, len(some), len(some), path) is None
    assert merkle.root_of(item, -1, len(some), path) is None
    assert merkle.root_of(item, index, len(some), [*path, root]) is None
    if path:
        assert merkle.root_of(item, index, len(some), path[:-1]) is None
        place = data.draw(st.integers(0, len(path) - 1))
        assert merkle.root_of(item, index, len(some), [*path[:place], root, *path[place + 1 :]]) != root
        # A node is no item: the two hashes below the root, taken for an item of a tree of one.
        below = path[-1] + tree[-2][0] if tree[-2][1] == path[-1] else tree[-2][0] + path[-1]
        assert merkle.root_of(below, 0, 1, []) != root


def test_there_is_no_tree_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least one"):
        merkle.levels([])


# ----------------------------------------------------------------------------------------------------------------- releases


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def release(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a release of three small shards in a workspace of its own, whose owner has a certificate."""
    monkeypatch.chdir(tmp_path)
    shutil.copy2(ROOT / "params.tiny.yaml", "params.yaml")
    configure(monkeypatch, authority.env(tmp_path / "pki"))
    for number, (name, count) in enumerate({"train/video/a-000": 7, "val/video/a-000": 3, "val/image/b-000": 1}.items()):
        shard(workspace.RELEASE / f"{name}.parquet", count, number)
    (workspace.RELEASE / "terms.json").write_text(json.dumps({"permitted_use": ["research"], "expires": None}))
    return workspace.RELEASE


def configure(monkeypatch: pytest.MonkeyPatch, env: dict[str, str]) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)


def shard(path: Path, count: int, seed: int) -> None:
    noise = random.Random(seed)
    rows = []
    for index in range(count):
        media = noise.randbytes(2000)
        row: dict[str, Any] = dict.fromkeys(PROVEN, "real")
        row |= {"sample_id": f"{seed:02d}{index:018d}", "sha256": hashlib.sha256(media).hexdigest(), "audio_label": None}
        rows.append(row | {"media": {"bytes": media, "path": f"{index}.bin"}, "width": 4})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def says(path: Path) -> str:
    return "\n".join(verify(path, SIGNATURES))


def sample(release: Path, folder: Path) -> Path:
    """A sample's own file."""
    row = pq.read_table(release / "train/video/a-000.parquet").to_pylist()[4]
    path = folder / "sample.bin"
    path.write_bytes(row["media"]["bytes"])
    return path


def test_a_release_is_signed_and_verifies(release: Path, tmp_path: Path) -> None:
    params = load_params()
    assert sign(params) == (3, 3)
    names = ("train/video/a-000", "val/video/a-000", "val/image/b-000")
    assert set(files(SIGNATURES)) == {f"{name}{kind}" for name in names for kind in (".png", ".jsonl")}
    parts = {release: 3, release / "val": 2, release / "val/video": 1, release / "val/image/b-000.parquet": 1}
    for part, shards in parts.items():
        told = says(part).splitlines()
        assert len(told) == shards
        assert all("as Test Lab, Test Signer signed them for release forgeline-tiny" in line for line in told)
    found = read_credentials(SIGNATURES / "val/video/a-000.png")
    assert found.claims[SHARD]["sha256"] == hashlib.sha256((release / "val/video/a-000.parquet").read_bytes()).hexdigest()
    assert found.claims[SHARD]["permitted_use"] == ["research"]
    lines = (SIGNATURES / "train/video/a-000.jsonl").read_text().splitlines()
    assert len(lines) == 7
    assert max(map(len, lines)) < 1024


def test_a_shard_is_known_by_its_folders(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign(load_params())
    signatures = SIGNATURES.absolute()
    for folder, path in (("val/video", "a-000.parquet"), ("val", "video"), ("val", ".")):
        monkeypatch.chdir(release.absolute() / folder)
        told = list(verify(Path(path), signatures))
        assert all("samples are as" in line for line in told), told
        monkeypatch.chdir(signatures.parents[1])


def test_a_sample_proves_itself_with_five_kilobytes(release: Path, tmp_path: Path) -> None:
    """With the shard's picture and its own line of proofs alone."""
    sign(load_params())
    path = sample(release, tmp_path)
    alone = tmp_path / "alone/x/y"
    alone.mkdir(parents=True)
    shutil.copy2(SIGNATURES / "train/video/a-000.png", alone / "a-000.png")
    (alone / "a-000.jsonl").write_text((SIGNATURES / "train/video/a-000.jsonl").read_text().splitlines()[4] + "\n")
    assert sum(map(len, files(alone).values())) < 6000
    shutil.rmtree(release)
    found = proven(path, tmp_path / "alone")
    assert found
    assert (found.sample["sample_id"], found.shard["release"]) == ("00000000000000000004", "forgeline-tiny")
    (told,) = verify(path, tmp_path / "alone")
    assert "sample 00000000000000000004, real by real" in told
    path.write_bytes(path.read_bytes() + b"x")
    assert proven(path, tmp_path / "alone") is None
    with pytest.raises(FactoryError, match=r"is in no signed shard of .*, and its own credentials are none"):
        list(verify(path, tmp_path / "alone"))


def test_what_did_not_change_keeps_its_signature(
    authority: Authority, release: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    params = load_params()
    sign(params)
    before = files(SIGNATURES)
    assert sign(params) == (3, 0)
    assert files(SIGNATURES) == before
    shard(release / "val/video/a-000.parquet", 4, 9)
    (release / "val/image/b-000.parquet").unlink()
    assert sign(params) == (2, 1)
    after = files(SIGNATURES)
    assert {name for name in before if after.get(name) != before[name]} == {
        f"val/{name}{kind}" for name in ("video/a-000", "image/b-000") for kind in (".png", ".jsonl")
    }
    assert len(after) == 4
    configure(monkeypatch, authority.env(tmp_path / "renewed"))
    assert sign(params) == (2, 2)
    assert sign(params) == (2, 0)


@pytest.mark.parametrize(("kind", "at"), [("png", -20), ("jsonl", 100)])  # of the pixel, and of a proof
def test_a_signature_that_is_not_whole_is_made_again(release: Path, kind: str, at: int) -> None:
    params = load_params()
    sign(params)
    path = SIGNATURES / f"train/video/a-000.{kind}"
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert sign(params) == (3, 1)
    assert says(release)


def test_a_proof_that_is_missing_is_made_again(release: Path) -> None:
    sign(load_params())
    path = SIGNATURES / "train/video/a-000.jsonl"
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    assert sign(load_params()) == (3, 1)
    assert path.read_text() == whole


def test_a_release_with_other_media_than_its_rows_say_is_not_signed(release: Path) -> None:
    path = release / "val/video/a-000.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[1]["media"]["bytes"] += b"x"
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(FactoryError, match="sample 01000000000000000001 is not the file that was released"):
        sign(load_params())
    assert not (SIGNATURES / "val/video/a-000.png").exists()


def test_what_does_not_read_back_stops_the_stage(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when something else than what was hashed reached the disk."""
    import flows.sign

    def other(path: Path, title: str, label: str, data: dict[str, Any], who: Any) -> None:
        sign_pixel(path, title, label, data | {"root": "0" * 64}, who)

    monkeypatch.setattr(flows.sign, "sign_pixel", other)
    with pytest.raises(FactoryError, match="holds other samples than were signed"):
        sign(load_params())


def test_nothing_is_signed_without_a_certificate_or_a_release(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.delenv("FORGELINE_SIGNING_CERT")
        with pytest.raises(KeyFileError, match=r"FORGELINE_SIGNING_CERT: is not set; .*docs/provenance\.md"):
            sign(load_params())
    (release / "terms.json").unlink()
    with pytest.raises(FactoryError, match="there is no release to sign"):
        sign(load_params())
    shutil.rmtree(release)
    with pytest.raises(FactoryError, match="holds no shards of a release"):
        sign(load_params())
    assert not SIGNATURES.exists()


def relabel(path: Path) -> None:
    rows = pq.read_table(path).to_pylist()
    rows[0]["label"] = "fake"
    pq.write_table(pa.Table.from_pylist(rows), path)


def edit(kind: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        other = SIGNATURES.joinpath(*path.parts[-3:]).with_suffix(kind)
        other.write_bytes(change(other.read_bytes()))

    return apply


def swap(path: Path) -> None:
    """Another shard's signature in place of this one's."""
    for kind in (".png", ".jsonl"):
        shutil.copy2((SIGNATURES / "train/video/a-000.png").with_suffix(kind), SIGNATURES / f"val/video/a-000{kind}")


def forge(path: Path) -> None:
    """Somebody else's signature on what they changed."""
    relabel(path)
    with pytest.MonkeyPatch.context() as patch:
        configure(patch, Authority().env(Path("stranger")))
        sign(load_params())


TAMPERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a label": (relabel, "is not the shard that was signed"),
    "a shard's byte": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "is not the shard that was signed"),
    "no shard": (Path.unlink, r"val/video/a-000\.parquet: is signed and not here"),
    "no signature": (lambda p: (SIGNATURES / "val/video/a-000.png").unlink(), "is not there, so there is no signature"),
    "no proofs": (lambda p: (SIGNATURES / "val/video/a-000.jsonl").unlink(), "does not prove the shard's samples"),
    "another's signature": (swap, "is not the shard that was signed"),
    "a stranger's signature": (forge, r"no signature to rely on: untrusted \(signingCredential.untrusted\)"),
    "a cut signature": (edit(".png", lambda d: d[:2000]), "no signature to rely on: invalid"),
    "a proof's hash": (edit(".jsonl", lambda d: d.replace(b'"path":["', b'"path":["00')), "does not prove the shard's"),
    "a proof's sample": (edit(".jsonl", lambda d: d.replace(b"real", b"fake", 1)), "does not prove the shard's samples"),
    "proofs of nonsense": (edit(".jsonl", lambda d: b'[]\n{"sample":{}}\n\xff\n' + b"[" * 9999), "does not prove the shard's"),
    "fewer proofs": (edit(".jsonl", lambda d: d[: d.index(b"\n") + 1]), "does not prove the shard's samples"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_what_was_changed_is_told(release: Path, case: str) -> None:
    sign(load_params())
    change, message = TAMPERED[case]
    change(release / "val/video/a-000.parquet")
    told: list[str] = []
    with pytest.raises(FactoryError, match="is not as it was signed"):
        told.extend(verify(release / "val", SIGNATURES))
    assert re.search(message, "\n".join(told))


def test_a_shard_can_not_pass_for_one_of_another_split(release: Path) -> None:
    sign(load_params())
    for folder, kinds in ((release, (".parquet",)), (SIGNATURES, (".png", ".jsonl"))):
        (folder / "test/video").mkdir(parents=True)
        for kind in kinds:
            shutil.copy2(folder / f"train/video/a-000{kind}", folder / f"test/video/a-000{kind}")
    with pytest.raises(FactoryError, match=r"release/test: is not as it was signed"):
        list(verify(release / "test", SIGNATURES))
    assert says(release / "train")


@pytest.mark.parametrize(
    ("label", "data"), [(SHARD, {}), (SHARD, {"shard": ["x"], "samples": "many", "root": 1}), ("org.other", {})]
)
def test_others_under_the_same_root_may_sign_anything(release: Path, tmp_path: Path, label: str, data: dict[str, Any]) -> None:
    sign(load_params())
    who = signer()
    assert who
    sign_pixel(SIGNATURES / "train/video/a-000.png", "a title", label, data, who)
    with pytest.raises(FactoryError, match="is not as it was signed"):
        list(verify(release, SIGNATURES))
    with pytest.raises(FactoryError):
        proven(sample(release, tmp_path))
    assert sign(load_params()) == (3, 1)


# ------------------------------------------------------------------------------------------------------- the stage, the export


def test_the_stage_depends_on_all_code_that_it_rests_on() -> None:
    (stage,) = yaml.safe_load((ROOT / "signing/dvc.yaml").read_text())["stages"].values()
    seen, todo = set(), ["flows.sign"]
    while todo:
        name = todo.pop()
        if name not in seen and name not in ("flows.params", "flows.release"):  # data/release is a dependency itself
            seen.add(name)
            todo += imports(name)
    deps = stage["deps"]
    assert all((ROOT / dep).exists() for dep in deps if not dep.startswith("data/"))
    missing = [f for f in sorted(map(file_of, seen - MACHINERY)) if not any(f == d or f.startswith(f"{d}/") for d in deps)]
    assert not missing


@pytest.fixture
def signing(clone: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a signer in the tiny checkout, which is the current folder."""
    env = Authority().env(tmp_path / "pki")
    configure(monkeypatch, env)
    monkeypatch.chdir(clone.path)
    return env


def test_dvc_signs_apart_from_the_graph_and_pushes_what_fits(clone: Checkout, signing: dict[str, str], tmp_path: Path) -> None:
    assert not Path("data/signatures").exists(), "`dvc repro` signed"
    clone.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    alone = ("dvc", "repro", "--single-item", "--force", "signing/dvc.yaml")
    said = clone.run(*alone, **signing).stdout
    assert re.search(r"sign: (\d+) shards have signatures in data/signatures, \1 of them new", said)
    lock = Path("signing/dvc.lock").read_bytes()
    assert "0 of them new" in clone.run(*alone, **signing).stdout
    assert Path("signing/dvc.lock").read_bytes() == lock
    changed = {line[3:] for line in clone.run("git", "status", "--porcelain").stdout.splitlines()}
    assert changed <= {".dvc/config", "dvc.lock", "signing/", "signing/dvc.lock"}
    clone.flows("push")
    signed = sum(path.stat().st_size for path in SIGNATURES.rglob("*.*"))
    # 4.1 % of a toy release, whose sound of 16 kHz is a third of what it was.
    assert signed < 0.05 * sum(path.stat().st_size for path in workspace.RELEASE.rglob("*.parquet"))
    clone.flows("verify", "data/release", **signing)

    next(SIGNATURES.rglob("*.png")).unlink()
    said = clone.flows("push", fails=True).stderr
    assert "data/signatures: are not of this release; run `dvc repro --single-item --force signing/dvc.yaml`" in said


def released(**columns: str) -> int:
    """How many rows of the release have these values."""
    rows = [
        row for path in workspace.RELEASE.glob("*/*/*.parquet") for row in pq.read_table(path, columns=[*columns]).to_pylist()
    ]
    return rows.count(columns)


def test_an_export_is_signed_file_by_file(clone: Checkout, signing: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert export(load_params(), folder, "val", None, date.today()) == (released(split="val"), True)
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert len({row["file"] for row in rows}) == len(rows) == released(split="val")
    named = {name for row in rows for name in (row["file"], row["mask"]) if name}
    assert set(files(folder)) == {"manifest.jsonl", *named}
    for row in rows:
        path = folder / row["file"]
        found = read_credentials(path)
        assert found.state == "trusted"
        assert found.claims[SAMPLE]["sample_id"] == row["sample_id"]
        assert found.claims[SAMPLE]["licence"] == row["licence"]
        assert (PICTURE_MARK, row["mark_id"]) in found.bindings
        assert [title for _, title in found.ingredients][: len(row["parents"])] == [f"sample {each}" for each in row["parents"]]
        changed = {"control": "c2pa.transcoded", "forgery": "c2pa.edited", "null_twin": "c2pa.edited"}[row["role"]]
        made = changed if row["parents"] else "c2pa.created"
        tag = read_tag(path)
        assert tag
        assert (made, tag.source_type) in found.actions
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() != row["released_sha256"]
        (told,) = verify(path, tmp_path / "nothing")
        assert f"sample {row['sample_id']}, as Test Lab, Test Signer signed in it" in told
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FORGELINE_TRUST_ANCHORS")
        with pytest.raises(FactoryError, match=r"its own credentials are untrusted \(signingCredential\.untrusted\)"):
            list(verify(folder / rows[0]["file"], tmp_path / "nothing"))


def test_an_export_without_a_certificate_says_so(clone: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.path)
    said = clone.flows("export", str(tmp_path / "out"), "--method", "blend_swap").stdout
    count = released(method="blend_swap")
    assert said == f"export: {count} samples in {tmp_path / 'out'}, without credentials, as FORGELINE_SIGNING_CERT is not set\n"
    rows = [json.loads(line) for line in (tmp_path / "out/manifest.jsonl").read_text().splitlines()]
    assert {row["method"] for row in rows} == {"blend_swap"}
    assert all(row["sha256"] == row["released_sha256"] for row in rows)
    assert "holds something already; name a new folder" in clone.flows("export", str(tmp_path / "out"), fails=True).stderr
    said = clone.flows("export", str(tmp_path / "new"), "--method", "nothing", fails=True).stderr
    assert "holds no such sample" in said
    assert not (tmp_path / "new").exists()


def test_what_may_not_be_passed_on_is_not_exported(clone: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.path)
    terms = json.loads((workspace.RELEASE / "terms.json").read_text())
    (workspace.RELEASE / "terms.json").write_text(json.dumps(terms | {"redistribute": False}))
    with pytest.raises(TermsError, match="passing on what is made from it is not permitted"):
        export(load_params(), tmp_path / "out", None, None, date.today())
    (workspace.RELEASE / "terms.json").write_text(json.dumps(terms))
    path = next(workspace.RELEASE.glob("val/video/blend*.parquet"))
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0]["media"]["bytes"] += b"x"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    with pytest.raises(PromiseError, match="is not the file that was sealed"):
        export(load_params(), tmp_path / "out", "val", "blend_swap", date.today())
