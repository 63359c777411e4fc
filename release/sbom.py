"""What is in a release, as a CycloneDX document: read from the image's layers, not from what should be in them."""

from __future__ import annotations

import json
import tarfile
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.message import Message
from email.parser import Parser
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from image import debian, oci, project
from image.digests import sha256_of
from release.images import NAME, Images
from release.source import Source

DPKG = "./var/lib/dpkg/status.d/"
PYTHON = tuple(f"./{project.FOLDER}/{part}/" for part in project.PARTS)


def document(source: Source, images: Images, files: Iterable[Path]) -> str:
    """files: what is released beside the image."""
    found: dict[str, Component] = {}
    for platform, archive in images.archives.items():
        for component in components(platform, archive):
            found.setdefault(component.bom_ref.value or "", component)
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{NAME}@{images.digest}"),
        components=[*found.values(), *map(_file, files)],
    )
    bom.metadata.timestamp = datetime.fromtimestamp(source.epoch, UTC)
    bom.metadata.component = Component(
        name=NAME,
        version=source.version,
        type=ComponentType.CONTAINER,
        bom_ref="image",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=images.digest.removeprefix("sha256:"))],
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )
    bom.register_dependency(bom.metadata.component, found.values())
    written = JsonV1Dot6(bom).output_as_string()
    return json.dumps(json.loads(written), indent=1, sort_keys=True) + "\n"


def components(platform: str, archive: Path) -> Iterator[Component]:
    """Debian's packages and Python's distributions, in the order in which they lie in the layers."""
    digests = {one.name: one.sha256 for one in debian.locked(platform)}
    for path, text in _notes(archive):
        said = Parser().parsestr(text, headersonly=True)
        if path.startswith(DPKG):
            yield _debian(said, platform, digests)
        else:
            yield _python(said)


def _notes(archive: Path) -> Iterator[tuple[str, str]]:
    """(path, text) of every file by which a package says what it is."""
    with tarfile.open(archive) as opened:
        for layer in oci.read(archive).layers:
            with tarfile.open(fileobj=opened.extractfile(oci.blob_path(layer.digest))) as files:
                for member in files:
                    python = member.name.startswith(PYTHON) and member.name.endswith(".dist-info/METADATA")
                    if member.isfile() and (python or member.name.startswith(DPKG)):
                        content = files.extractfile(member)
                        assert content is not None
                        yield member.name, content.read().decode()


def _debian(said: Message, platform: str, digests: dict[str, str]) -> Component:
    name, version = said["Package"], said["Version"]
    qualifiers = {"arch": said["Architecture"], "distro": debian.SUITE}
    url = PackageURL("deb", "debian", name, version, qualifiers)
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=digests[name])] if name in digests else []
    return Component(
        name=name, version=version, type=ComponentType.LIBRARY, purl=url, bom_ref=url.to_string(), hashes=hashes
    )


def _python(said: Message) -> Component:
    name, version = said["Name"], said["Version"]
    url = PackageURL("pypi", None, name.lower().replace("_", "-"), version)
    expression = said["License-Expression"]
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        purl=url,
        bom_ref=url.to_string(),
        licenses=[LicenseFactory().make_from_string(expression)] if expression else [],
    )


def _file(path: Path) -> Component:
    return Component(
        name=path.name,
        type=ComponentType.FILE,
        bom_ref=path.name,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256_of(path))],
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )
