"""Stage `sign` (signing/dvc.yaml): the organisation's signature on a release, made once for what doesn't change.

    data/signatures/<split>/<config>/<shard>-<part>.png      a picture of one pixel, with a signed manifest (C2PA) on the shard
    data/signatures/<split>/<config>/<shard>-<part>.jsonl    a line for each sample: what is proven of it, and how

The manifest holds the shard's SHA-256 and the root of a Merkle tree over its samples. With the picture and its own line, a
sample proves that it was released, wherever the shard is: 4 kB once, and about 1 kB a sample.

Signatures differ from run to run, as C2PA salts them. So they are no part of what `dvc repro` makes; a shard whose signature
still says the same, by the same certificate, keeps it.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from flows import merkle, workspace
from flows.params import Params
from flows.release import TERMS
from forgeline.errors import FactoryError, KeyFileError
from forgeline.files import prune, sha256_of, write_text
from forgeline.lock import holding
from forgeline.recipe import canonical
from watermark.credentials import ANCHORS, CERTIFICATES, SAMPLE, Credentials, Signer, read_credentials, sign_pixel, signer

SIGNATURES = Path("data/signatures")
SHARD = "org.forgeline.shard"
"""Label of the assertion that holds what is signed about a shard."""
PROVEN = ("sample_id", "sha256", "split", "label", "video_label", "audio_label", "role", "method", "variant", "licence")
"""The columns of a row that its leaf in the tree holds."""

_AGAIN = "get it again, from where it was published"


@dataclass(frozen=True)
class Proven:
    """A file that was released: what is signed about the sample, and about its shard; by whom."""

    sample: dict[str, Any]
    shard: dict[str, Any]
    signer: str


def sign(params: Params) -> tuple[int, int]:
    """Bring data/signatures up to date with data/release; gives how many shards have a signature, and how many a new one.

    KeyFileError where no certificate is configured, or none that is good; FactoryError where there is no release, or a sample
    in it is not what its row says, or a signature doesn't read back as trusted and as what was signed.
    """
    who = signer()
    if who is None:
        raise KeyFileError(CERTIFICATES, "is not set", "point it to your certificates: see docs/provenance.md")
    with holding(workspace.lock("sign")):
        shards = _shards(workspace.RELEASE)
        new = sum(_sign_shard(shard, params.release.name, who) for shard in shards)
        prune(SIGNATURES, {_signature(shard, SIGNATURES).with_suffix(kind) for shard in shards for kind in (".png", ".jsonl")})
    return len(shards), new


def _sign_shard(shard: Path, release: str, who: Signer) -> bool:
    """Sign a shard unless its signature is as good as a new one. True when it was signed."""
    try:
        terms = json.loads(TERMS.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FactoryError(workspace.RELEASE, "there is no release to sign", "run `dvc repro` first") from error
    told: dict[str, Any] = {
        "release": release,
        "shard": _name(shard),
        "sha256": sha256_of(shard),
        "permitted_use": terms["permitted_use"],
        "expires": terms["expires"],
    }
    path, proofs = _signature(shard, SIGNATURES), _signature(shard, SIGNATURES).with_suffix(".jsonl")
    if path.is_file() and proofs.is_file():
        there = read_credentials(path, who.anchors)
        says = there.claims.get(SHARD, {})
        same = there.state == "trusted" and there.serial == who.serial and all(says.get(name) == told[name] for name in told)
        held = [_holds(line, says) for line in _lines(proofs)] if same else []
        if same and all(held) and len(held) == says.get("samples"):
            return False
    leaves = list(_leaves(shard))
    tree = merkle.levels([canonical(leaf).encode() for leaf in leaves])
    told |= {"samples": len(leaves), "root": tree[-1][0].hex()}
    sign_pixel(path, told["shard"], SHARD, told, who)
    lines = [
        canonical({"sample": leaf, "index": index, "path": [each.hex() for each in merkle.path(tree, index)]})
        for index, leaf in enumerate(leaves)
    ]
    write_text(proofs, "".join(f"{line}\n" for line in lines))
    _require_as_signed(shard, SIGNATURES, who.anchors)
    return True


def _leaves(shard: Path) -> Iterator[dict[str, Any]]:
    """What is proven of each sample in a shard. FactoryError for media that aren't what their row says."""
    with pq.ParquetFile(shard) as file:
        for batch in file.iter_batches(batch_size=64, columns=[*PROVEN, "media"]):
            for row in batch.to_pylist():
                media = row.pop("media")["bytes"]
                if hashlib.sha256(media).hexdigest() != row["sha256"]:
                    raise FactoryError(shard, f"sample {row['sample_id']} is not the file that was released", _AGAIN)
                yield row


def _lines(proofs: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file of proofs; an empty one for whatever isn't one."""
    with proofs.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                line = None
            yield line if isinstance(line, dict) and isinstance(line.get("sample"), dict) else {}


def _holds(line: dict[str, Any], told: dict[str, Any]) -> bool:
    """Whether a line of proofs leads to the root that is signed."""
    try:
        item, hashes = canonical(line["sample"]).encode(), [bytes.fromhex(each) for each in line["path"]]
        root = merkle.root_of(item, line["index"], told["samples"], hashes)
        return root is not None and root.hex() == told["root"]
    except (KeyError, TypeError, ValueError):
        return False


def _name(shard: Path) -> str:
    """<split>/<config>/<file>, by the folders that the shard lies in."""
    return "/".join(shard.absolute().parts[-3:])


def _signature(shard: Path, signatures: Path) -> Path:
    return (signatures / _name(shard)).with_suffix(".png")


def _shards(folder: Path) -> list[Path]:
    shards = sorted(folder.rglob("*.parquet"))
    if not shards:
        raise FactoryError(folder, "holds no shards of a release", "run `dvc repro`, or name a release's folder")
    return shards


def _require_signed(path: Path, anchors: str | None) -> Credentials:
    if not path.is_file():
        raise FactoryError(path, "is not there, so there is no signature", "get the release's signatures, too")
    found = read_credentials(path, anchors)
    if found.state != "trusted" or SHARD not in found.claims:
        why = ", ".join(found.failures) or "it is not on a shard"
        todo = f"see that {ANCHORS} names the publisher's root certificate: docs/provenance.md"
        raise FactoryError(path, f"is no signature to rely on: {found.state} ({why})", todo)
    return found


def _require_as_signed(shard: Path, signatures: Path, anchors: str | None = None) -> Credentials:
    """Who signed a shard. FactoryError where anything in it, or in its proofs, is not as it was signed."""
    path = _signature(shard, signatures)
    found = _require_signed(path, anchors)
    told = found.claims[SHARD]
    if (told.get("shard"), told.get("sha256")) != (_name(shard), sha256_of(shard)):
        raise FactoryError(shard, "is not the shard that was signed", _AGAIN)
    leaves = list(_leaves(shard))
    tree = merkle.levels([canonical(leaf).encode() for leaf in leaves])
    if (told.get("samples"), told.get("root")) != (len(leaves), tree[-1][0].hex()):
        raise FactoryError(shard, "holds other samples than were signed", _AGAIN)
    proofs = path.with_suffix(".jsonl")
    held = [line["sample"] if _holds(line, told) else None for line in _lines(proofs)] if proofs.is_file() else []
    if held != leaves:
        raise FactoryError(proofs, "does not prove the shard's samples", "get the release's signatures again")
    return found


def verify(path: Path, signatures: Path) -> Iterator[str]:
    """Check a release, a part of it, or a file of it, and tell of each shard who signed it.

    FactoryError, at the end, where anything is not as it was signed, or a signed shard of this part is missing.
    """
    if path.is_file() and path.suffix != ".parquet":
        yield _verify_file(path, signatures)
        return
    shards = [path] if path.is_file() else _shards(path)
    wrong = []
    for shard in shards:
        try:
            found = _require_as_signed(shard, signatures)
            told = found.claims[SHARD]
            yield f"{shard}: its {told['samples']} samples are as {found.signer} signed them for release {told.get('release')}"
        except FactoryError as error:
            wrong.append(error)
            yield f"error: {error}"
    for name in _missing(path, shards, signatures):
        wrong.append(FactoryError(name, "is signed and not here", _AGAIN))
        yield f"error: {wrong[-1]}"
    if wrong:
        raise FactoryError(path, f"is not as it was signed (shards that are wrong: {len(wrong)})", wrong[0].todo)


def _missing(path: Path, shards: Sequence[Path], signatures: Path) -> list[str]:
    """The signed shards of this part of a release that are not in it."""
    if path.is_file():
        return []
    below = len(shards[0].relative_to(path).parts)
    part = _name(shards[0]).split("/")[: max(0, 3 - below)]
    there = {_signature(shard, signatures) for shard in shards}
    return [
        _name(each.with_suffix(".parquet")) for each in sorted(signatures.joinpath(*part).rglob("*.png")) if each not in there
    ]


def _verify_file(path: Path, signatures: Path) -> str:
    found = proven(path, signatures)
    if found:
        told = found.sample
        what = f"sample {told.get('sample_id')}, {told.get('label')} by {told.get('method')}, {told.get('split')}"
        return f"{path}: {what}, as {found.signer} signed for release {found.shard.get('release')}"
    inside = read_credentials(path)
    if inside.state == "trusted" and SAMPLE in inside.claims:
        told = inside.claims[SAMPLE]
        return f"{path}: sample {told.get('sample_id')}, as {inside.signer} signed in it for release {told.get('release')}"
    why = f" ({', '.join(inside.failures)})" if inside.failures else ""
    what = f"is in no signed shard of {signatures}, and its own credentials are {inside.state}{why}"
    raise FactoryError(path, what, "see docs/provenance.md for what that means")


def proven(path: Path, signatures: Path = SIGNATURES) -> Proven | None:
    """What is signed of exactly this file, or None where no proof names it. FactoryError for a proof that doesn't hold."""
    digest = sha256_of(path)
    for proofs in sorted(signatures.rglob("*.jsonl")):
        for line in _lines(proofs):
            if line and line["sample"].get("sha256") == digest:
                found = _require_signed(proofs.with_suffix(".png"), None)
                if not _holds(line, found.claims[SHARD]):
                    raise FactoryError(proofs, f"does not prove {path.name}", "get the release's signatures again")
                return Proven(line["sample"], found.claims[SHARD], str(found.signer))
    return None
