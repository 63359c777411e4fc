"""SHA256SUMS over all files of a release, and its signature: two tools that everybody has check a whole release."""

from __future__ import annotations

from pathlib import Path

from image.digests import sha256_of
from release.programs import ReleaseError, run

SUMS = "SHA256SUMS"
NAMESPACE = "file"  # what ssh-keygen's manual proposes for files


def write(folder: Path) -> Path:
    """As `sha256sum -c` reads it."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256_of(folder / name)}  {name}\n" for name in names if name not in (SUMS, f"{SUMS}.sig")]
    (folder / SUMS).write_text("".join(lines))
    return folder / SUMS


def sign(sums: Path, key: Path) -> Path:
    """SHA256SUMS.sig, by a key of ssh: a private one, or a public one whose private half an agent or a token holds.

    Raises: ReleaseError.
    """
    if not key.exists():
        raise ReleaseError(f"there is no key {key}: --key (RELEASE_KEY) names a key of ssh, such as ed25519")
    signature = sums.with_name(f"{sums.name}.sig")
    signature.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", NAMESPACE, sums])
    return signature
