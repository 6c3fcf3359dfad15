"""Content credentials (C2PA): a manifest in a file, signed with the organisation's certificate, that tells of its making.

A manifest is bound to the file's bytes: whoever re-saves the file loses it, whoever changes a byte breaks it. The mark
in the picture outlives both, and the manifest names the mark ("soft binding"), so that the one can be found by the other.

Nothing here touches the network: there is no time stamp, no look-up of revoked certificates, no manifest elsewhere.
"""

import io
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from forgeline.errors import KeyFileError, MediaError, PromiseError
from forgeline.files import replacing
from watermark.metadata import VOCABULARY, Tag

CERTIFICATES = "FORGELINE_SIGNING_CERT"
"""The environment variable that names the PEM file of the certificate that signs, and of those between it and the root."""
PRIVATE_KEY = "FORGELINE_SIGNING_KEY"
"""The environment variable that names the PEM file of the certificate's private key, mode 600."""
ANCHORS = "FORGELINE_TRUST_ANCHORS"
"""The environment variable that names the PEM file of the root certificates that are trusted. Nothing else is."""

FORMATS = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
    ".flac": "audio/flac",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
}
"""What can be signed."""

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c63600000000200014873"
    "b46f0000000049454e44ae426082"
)
"""A PNG of one black pixel."""

PICTURE_MARK, SOUND_MARK = "org.forgeline.tile.1", "org.forgeline.carrier.1"
"""The marks' algorithms (`watermark.tile`, `watermark.sound`) as soft bindings name them; not on C2PA's public list."""

SAMPLE = "org.forgeline.sample"
"""Label of the assertion that holds a sample's id, terms and release."""

State = Literal["trusted", "untrusted", "invalid", "none"]

_LARGEST = 1 << 20  # bytes of a PEM file
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_LONGEST = 4000  # characters of a text in somebody's manifest


@dataclass(frozen=True)
class Statement:
    """What is signed about a sample's file.

    `marks` are (algorithm, payload in hexadecimal) of the marks in it, by the key `mark_key_id`. `parents` are the sample
    ids it was made from, the target first; `found` the marks that these bore already. `changed` is False for a control.
    """

    tag: Tag
    marks: tuple[tuple[str, str], ...] = ()
    mark_key_id: str | None = None
    parents: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    changed: bool = True


@dataclass(frozen=True)
class Credentials:
    """What a file's manifest says, and how far it can be believed.

    trusted: every byte is as it was signed, with a certificate under one of the pinned roots;
    untrusted: as signed, but by nobody that is pinned here, or with a certificate that is not valid today;
    invalid: changed after it was signed, or damaged; `failures` says how;
    none: there is no manifest in it.

    The rest is what the signer claims: for an invalid manifest it is what anybody may have written. `claims` maps the
    labels of assertions to their data; `ingredients` are (relation, title). Texts are cleaned of control characters.
    """

    state: State
    failures: tuple[str, ...] = ()
    signer: str | None = None
    serial: str | None = None
    title: str | None = None
    actions: tuple[tuple[str, str | None], ...] = ()
    ingredients: tuple[tuple[str, str], ...] = ()
    bindings: tuple[tuple[str, str], ...] = ()
    claims: Mapping[str, Any] = field(default_factory=dict)


def read_credentials(path: Path, anchors: str | None = None) -> Credentials:
    """What the manifest in a file says. Never raises for what is in the file; an OSError where it can't be opened.

    `anchors` is the PEM text of the trusted roots; by default, that of the file that FORGELINE_TRUST_ANCHORS names, and
    without one nothing is better than "untrusted".
    """
    anchors = trust_anchors() if anchors is None else anchors
    with path.open("rb") as file:
        try:
            with c2pa.Reader(None, file, context=_context(anchors)) as reader:
                return _read(reader)
        except (c2pa.C2paError.ManifestNotFound, c2pa.C2paError.NotSupported):
            return Credentials("none")
        except c2pa.C2paError as error:
            if str(error).startswith("Remote"):
                return Credentials("none", ("its manifest is kept elsewhere, and was not fetched",))
            return Credentials("invalid", (_clean(str(error)),))


def _read(reader: c2pa.Reader) -> Credentials:
    results = reader.get_validation_results() or {}
    statuses = [results.get("activeManifest") or {}]
    statuses += [delta.get("validationDeltas") or {} for delta in results.get("ingredientDeltas") or ()]
    failures = tuple(dict.fromkeys(_clean(each.get("code", "?")) for some in statuses for each in some.get("failure") or ()))
    verdict = reader.get_validation_state()
    if verdict == "Trusted" and not failures:
        state: State = "trusted"
    elif (failures or verdict == "Valid") and all(code.startswith("signingCredential.") for code in failures):
        state = "untrusted"
    else:
        state = "invalid"
    store = json.loads(reader.json())
    manifest = store.get("manifests", {}).get(store.get("active_manifest"), {})
    signature = manifest.get("signature_info") or {}
    found = list(_assertions(manifest))
    return Credentials(
        state=state,
        failures=failures,
        signer=", ".join(_clean(signature[name]) for name in ("issuer", "common_name") if signature.get(name)) or None,
        serial=signature.get("cert_serial_number"),
        title=_clean(manifest["title"]) if manifest.get("title") else None,
        actions=tuple(
            (_clean(action.get("action")), _source_type(action))
            for label, data in found
            if label.startswith("c2pa.actions")
            for action in _dicts(data.get("actions"))
        ),
        ingredients=tuple(
            (_clean(each.get("relationship")), _clean(each.get("title"))) for each in _dicts(manifest.get("ingredients"))
        ),
        bindings=tuple(
            (_clean(data.get("alg")), _clean(block.get("value")))
            for label, data in found
            if label == "c2pa.soft-binding"
            for block in _dicts(data.get("blocks"))
        ),
        claims={label: _cleaned(data) for label, data in found if not label.startswith("c2pa.")},
    )


def _assertions(manifest: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in _dicts(manifest.get("assertions")):
        if isinstance(each.get("data"), dict):
            yield str(each.get("label")), each["data"]


def _source_type(action: Mapping[str, Any]) -> str | None:
    given = action.get("digitalSourceType")
    return _clean(given).removeprefix(VOCABULARY) if given else None


def _dicts(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _clean(value: object) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in str(value)[:_LONGEST])


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {_clean(key): _cleaned(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_cleaned(each) for each in value]
    return _clean(value) if isinstance(value, str) else value


def trust_anchors() -> str:
    """The roots that FORGELINE_TRUST_ANCHORS pins, as PEM text; empty where it is not set. Raises KeyFileError."""
    name = os.environ.get(ANCHORS)
    return _text(_certificates(Path(name), ANCHORS)).decode() if name else ""


@dataclass(frozen=True, repr=False)
class Signer:
    """A certificate with its chain and private key, found good: what it signs reads back as trusted."""

    chain: bytes
    key: bytes
    algorithm: str
    serial: str
    anchors: str

    def sign(self, source: BinaryIO, target: Path, title: str, content: Mapping[str, Any]) -> None:
        """Write `target`: the file `source` with a signed manifest in it, which was read back and found trusted.

        `content` has the manifest's `assertions` and `ingredients`, as c2pa takes them. MediaError for a file that can't
        carry a manifest; PromiseError when it doesn't read back as trusted.
        """
        kind = FORMATS.get(target.suffix.lower())
        if kind is None:
            raise MediaError(target, "is of a kind that can't carry credentials", f"use one of {', '.join(FORMATS)}")
        with replacing(target) as part:
            try:
                with part.open("w+b") as out:
                    self.write(source, out, kind, title, content)
            except c2pa.C2paError as error:
                raise MediaError(target, f"can't be signed ({_clean(error)})", "see whether other programs open it") from error
            found = read_credentials(part, self.anchors)
            if found.state != "trusted":
                why = ", ".join(found.failures) or "no failure named"
                raise PromiseError(target, f"reads back as {found.state} ({why})", "report it; nothing was written")

    def write(self, source: BinaryIO, out: BinaryIO, kind: str, title: str, content: Mapping[str, Any]) -> None:
        """Copy `source`, a file of MIME type `kind`, to `out` with a signed manifest in it. C2paError where it can't be."""
        definition = {"claim_generator_info": [{"name": "forgeline"}], "title": title, **content}
        native = c2pa.Signer.from_info(c2pa.C2paSignerInfo(self.algorithm, self.chain, self.key, None))
        c2pa.Builder(definition, context=_context("")).sign(native, kind, source, out)

    def __repr__(self) -> str:
        return f"Signer({self.serial})"


def sign_sample(path: Path, target: Path, statement: Statement, signer: Signer) -> None:
    """Write `target`: a sample's file with a manifest of what the statement says."""
    with path.open("rb") as file:
        signer.sign(file, target, statement.tag.sample_id, content_of(statement))


def sign_pixel(target: Path, title: str, label: str, data: Mapping[str, Any], signer: Signer) -> None:
    """Write `target`, a PNG of one pixel that is there for its signed manifest: `data`, as an assertion of this label."""
    content = {"assertions": [_pixel_made(), {"label": label, "data": dict(data)}]}
    signer.sign(io.BytesIO(PIXEL), target, title, content)


def content_of(statement: Statement) -> dict[str, Any]:
    """A statement as assertions and ingredients (C2PA 2.2, sections on actions, ingredients and soft bindings)."""
    tag, source_type = statement.tag, VOCABULARY + statement.tag.source_type
    ingredients = [_ingredient(f"sample {each}", "componentOf") for each in statement.parents]
    ingredients += [_ingredient(each, "inputTo") for each in statement.found]
    labels = [each["label"] for each in ingredients]
    marks = labels[len(statement.parents) :]
    actions: list[dict[str, Any]] = []
    if statement.parents:
        ingredients[0]["relationship"] = "parentOf"
        actions.append(_action("c2pa.opened", labels[:1]))
        actions += [_action("c2pa.placed", [each]) for each in labels[1 : len(statement.parents)]]
        what = "c2pa.edited" if statement.changed else "c2pa.transcoded"
        actions.append(_action(what, marks) | {"digitalSourceType": source_type})
    else:
        actions.append(_action("c2pa.created", marks) | {"digitalSourceType": source_type})
    if statement.marks:
        actions.append(_action("c2pa.watermarked.bound", []))
    own = {
        "sample_id": tag.sample_id,
        "release": tag.release,
        "licence": tag.licence,
        "permitted_use": list(tag.permitted_use),
        "mark_key_id": statement.mark_key_id,
    }
    assertions = [{"label": "c2pa.actions.v2", "data": {"actions": actions}}, {"label": SAMPLE, "data": own}]
    for algorithm, value in statement.marks:
        data = {"alg": algorithm, "blocks": [{"scope": {}, "value": value}]}
        assertions.append({"label": "c2pa.soft-binding", "data": data})
    return {"assertions": assertions, "ingredients": ingredients}


def _ingredient(title: str, relationship: str) -> dict[str, str]:
    return {"title": title, "relationship": relationship, "label": f"{relationship} {title}"}


def _action(name: str, ingredients: Sequence[str]) -> dict[str, Any]:
    return {"action": name} | ({"parameters": {"ingredientIds": list(ingredients)}} if ingredients else {})


def signer() -> Signer | None:
    """Who signs here: by the files that the environment names, or None where FORGELINE_SIGNING_CERT is not set.

    Raises KeyFileError for files that are missing, don't fit each other, are open to others, or whose signatures would not
    be trusted by those who pin FORGELINE_TRUST_ANCHORS.
    """
    name = os.environ.get(CERTIFICATES)
    if not name:
        return None
    path = Path(name)
    chain = _certificates(path, CERTIFICATES)
    key = _private_key(Path(_named(PRIVATE_KEY, "the certificate's private key")))
    _named(ANCHORS, "the root certificates that readers pin")
    leaf = chain[0]
    public = load_pem_private_key(key, None).public_key()
    if _spki(public) != _spki(leaf.public_key()):
        raise KeyFileError(path, f"is not the certificate of the key in {PRIVATE_KEY}", "put the signer's certificate first")
    _check_days(leaf, path)
    found = Signer(
        chain=_text(chain),
        key=key,
        algorithm=_algorithm(public, path),
        serial=str(leaf.serial_number),
        anchors=trust_anchors(),
    )
    _try(found, path)
    return found


def _named(variable: str, what: str) -> str:
    name = os.environ.get(variable)
    if not name:
        raise KeyFileError(variable, f"is not set, and {CERTIFICATES} is", f"set it to the PEM file of {what}")
    return name


def _certificates(path: Path, variable: str) -> list[x509.Certificate]:
    try:
        with path.open("rb") as file:
            return x509.load_pem_x509_certificates(file.read(_LARGEST))
    except (OSError, ValueError) as error:
        raise KeyFileError(
            path, f"holds no certificates that can be read ({error})", f"point {variable} to a PEM file"
        ) from error


def _text(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _private_key(path: Path) -> bytes:
    """The PEM text of a private key. What is wrong with it is said without a word of it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode  # of the open file: it can't be exchanged after the check
            text = file.read(_LARGEST)
    except OSError as error:
        raise KeyFileError(path, f"can't be read ({error.strerror})", f"point {PRIVATE_KEY} to a PEM file") from error
    if not stat.S_ISREG(mode) or stat.S_IMODE(mode) & 0o177:
        todo = f"run `chmod 600 {path}`, and have the certificate revoked if others read it"
        raise KeyFileError(path, f"has mode {stat.S_IMODE(mode):o}", todo)
    try:
        load_pem_private_key(text, None)
    except TypeError:
        raise KeyFileError(path, "is encrypted", "store it decrypted with mode 600, on a disk that is encrypted") from None
    except ValueError:
        raise KeyFileError(path, "holds no private key", "write it in PEM form (PKCS#8)") from None
    return text


def _spki(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _algorithm(key: object, path: Path) -> str:
    """The signature algorithm that c2pa uses with a public key."""
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return "ps256"
    raise KeyFileError(path, "has a key of a kind that C2PA doesn't sign with", "use a P-256 key")


def _check_days(leaf: x509.Certificate, path: Path) -> None:
    first, last, now = leaf.not_valid_before_utc, leaf.not_valid_after_utc, datetime.now(UTC)
    if now > last:
        raise KeyFileError(path, f"expired on {last:%Y-%m-%d}", "have it renewed")
    if now < first:
        raise KeyFileError(path, f"is not valid before {first:%Y-%m-%d}", "wait, or see that this machine's clock is right")


def _try(found: Signer, path: Path) -> None:
    """Sign a picture of one pixel and read it: no list of rules of ours says better what readers will say."""
    todo = "use a certificate for C2PA: not a CA's, with the key usage digitalSignature and the purpose e-mail protection"
    out = io.BytesIO()
    try:
        found.write(io.BytesIO(PIXEL), out, "image/png", "trial", {"assertions": [_pixel_made()]})
        out.seek(0)
        with c2pa.Reader("image/png", out, context=_context(found.anchors)) as reader:
            read = _read(reader)
    except c2pa.C2paError as error:
        raise KeyFileError(path, f"can't sign ({_clean(error)})", todo) from error
    if read.state != "trusted":
        raise KeyFileError(
            path,
            f"makes signatures that nobody would trust ({', '.join(read.failures)})",
            f"put the certificates between it and a root of {ANCHORS} behind it",
        )


def _pixel_made() -> dict[str, Any]:
    action = {"action": "c2pa.created", "digitalSourceType": f"{VOCABULARY}algorithmicMedia"}
    return {"label": "c2pa.actions.v2", "data": {"actions": [action]}}


@cache
def _context(anchors: str) -> c2pa.Context:
    """c2pa's settings: no network, no thumbnails, and no roots but the pinned ones."""
    settings: dict[str, Any] = {
        "version": 1,
        "verify": {
            "verify_trust": True,
            "verify_after_sign": False,
            "ocsp_fetch": False,
            "remote_manifest_fetch": False,
        },
        "builder": {"thumbnail": {"enabled": False}},
    }
    if anchors:
        settings["trust"] = {"trust_anchors": anchors}
    return c2pa.Context.from_dict(settings)
