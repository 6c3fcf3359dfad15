"""A certificate authority for tests: root, intermediate, and leaves, good and bad."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

MAIL = ExtendedKeyUsageOID.EMAIL_PROTECTION


@dataclass(frozen=True)
class Identity:
    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def secret(self) -> str:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def issue(
    name: str,
    issuer: Identity | None = None,
    *,
    ca: bool = False,
    use: x509.ObjectIdentifier | None = None,
    key: Any = None,
    since: timedelta = timedelta(days=-100),
    until: timedelta = timedelta(days=100),
) -> Identity:
    """A certificate by `issuer`, or self-signed, that is valid from `since` to `until`, as seen from now."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test Lab"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    by = issuer.key if issuer else key
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + since)
        .not_valid_after(now + until)
        .add_extension(x509.BasicConstraints(ca, None), True)
        .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), False)
    )
    if use:
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), True)
    return Identity(builder.sign(by, None if isinstance(by, ed25519.Ed25519PrivateKey) else hashes.SHA256()), key)


class Authority:
    """A root, an intermediate under it, and the environment of somebody who signs with a leaf under both."""

    def __init__(self) -> None:
        self.root = issue("Test Root", ca=True)
        self.between = issue("Test Intermediate", self.root, ca=True)

    def leaf(self, **settings: Any) -> Identity:
        return issue("Test Signer", self.between, **({"use": MAIL} | settings))

    def env(self, folder: Path, leaf: Identity | None = None, chain: str | None = None) -> dict[str, str]:
        """Write what a signer needs into a folder; the environment that names it."""
        leaf = leaf or self.leaf()
        folder.mkdir(parents=True, exist_ok=True)
        texts = {"chain.pem": chain or leaf.pem + self.between.pem, "key.pem": leaf.secret, "root.pem": self.root.pem}
        for name, text in texts.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
        return {
            "FORGELINE_SIGNING_CERT": str(folder / "chain.pem"),
            "FORGELINE_SIGNING_KEY": str(folder / "key.pem"),
            "FORGELINE_TRUST_ANCHORS": str(folder / "root.pem"),
        }
