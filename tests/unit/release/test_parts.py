"""The pieces of a release: what a user checks it with, and what is said of what is in it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from typer.testing import CliRunner

from image import debian, oci, project
from image.wheels import ROOT
from release import cli, sbom, source, sums
from release.images import Images
from release.programs import ReleaseError

OF = source.Source("1.2.3", "c" * 40, 1_700_000_000)
DIGEST = "sha256:" + "a" * 64


def call(*argv: str | Path, stdin: bytes = b"", cwd: Path = ROOT) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(list(map(str, argv)), input=stdin, cwd=cwd, capture_output=True, check=False)


# --- checksums and signature


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "release"
    (made / "image/blobs").mkdir(parents=True)
    (made / "image/blobs/b").write_text("blob")
    (made / "chart.tgz").write_text("chart")
    return made


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("key") / "release"
    assert call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file).returncode == 0
    return file


def test_sums_are_of_all_files_and_sha256sum_takes_them(folder: Path) -> None:
    sums.write(folder)
    assert [line.split()[1] for line in sums.write(folder).read_text().splitlines()] == ["chart.tgz", "image/blobs/b"]
    check = ("sha256sum", "--check", "--strict", "SHA256SUMS")
    assert call(*check, cwd=folder).returncode == 0
    (folder / "image/blobs/b").write_text("other")
    assert call(*check, cwd=folder).returncode == 1


def verified(listed: Path, key: Path, stdin: bytes) -> bool:
    signers = key.with_name("allowed_signers")
    signers.write_text(f"release@llm-d-storage {key.with_suffix('.pub').read_text()}")
    verify = ("ssh-keygen", "-Y", "verify", "-f", signers, "-I", "release@llm-d-storage", "-n", "file")
    return call(*verify, "-s", f"{listed}.sig", stdin=stdin).returncode == 0


def test_a_signature_is_checked_by_ssh_keygen_and_is_the_same_each_time(folder: Path, key: Path) -> None:
    listed = sums.write(folder)
    first = sums.sign(listed, key).read_bytes()
    assert verified(listed, key, listed.read_bytes())
    assert not verified(listed, key, listed.read_bytes() + b"x")
    assert sums.sign(listed, key).read_bytes() == first


def test_a_key_that_is_not_there_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="RELEASE_KEY"):
        sums.sign(sums.write(folder), tmp_path / "nothing")


# --- the list of parts


def archive(tmp_path: Path, platform: str) -> Path:
    package = debian.locked(platform)[0]
    root = tmp_path / platform
    dpkg = root / "var/lib/dpkg/status.d"
    dpkg.mkdir(parents=True)
    (dpkg / package.name).write_text(
        f"Package: {package.name}\nVersion: {package.version}\nArchitecture: {platform}\nDescription: x\n y\n"
    )
    for part in project.PARTS:
        dist = root / project.FOLDER / part / "Some_Package-1.0.dist-info"
        dist.mkdir(parents=True)
        (dist / "METADATA").write_text("Name: Some_Package\nVersion: 1.0\nLicense-Expression: MIT\n\nText.\n")
    oci.pack(root, tmp_path / f"{platform}.tar", "x", oci.Config(architecture=platform))
    return tmp_path / f"{platform}.tar"


@pytest.fixture
def document(tmp_path: Path) -> str:
    wheel = tmp_path / "x.whl"
    wheel.write_text("wheel")
    images = Images({one: archive(tmp_path, one) for one in ("amd64", "arm64")}, DIGEST)
    text = sbom.document(OF, images, [wheel])
    assert text == sbom.document(OF, images, [wheel])
    return text


def test_the_list_of_parts_is_valid_cyclonedx_and_the_same_each_time(document: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document) is None
    assert json.loads(document)["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"


def test_the_list_of_parts_says_what_is_in_the_image_and_beside_it(document: str) -> None:
    said = json.loads(document)
    assert said["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": DIGEST.removeprefix("sha256:")}]
    by_name: dict[str, list[dict]] = {}
    for one in said["components"]:
        by_name.setdefault(one["name"], []).append(one)
    (python,) = by_name["Some_Package"]  # once, though it is in two places of two platforms
    assert python["purl"] == "pkg:pypi/some-package@1.0"
    assert python["licenses"] == [{"license": {"id": "MIT"}}]
    packages = {one["hashes"][0]["content"] for one in by_name["base-files"]}
    assert packages == {debian.locked(one)[0].sha256 for one in ("amd64", "arm64")}
    assert by_name["x.whl"][0]["hashes"][0]["content"] == hashlib.sha256(b"wheel").hexdigest()


# --- the commit


def repository(tmp_path: Path) -> Path:
    chart = tmp_path / "charts/llm-d-storage"
    chart.mkdir(parents=True)
    (chart / "Chart.yaml").write_text("version: 9.8.7\n")
    who = ("-c", "user.name=x", "-c", "user.email=x@example.com")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "x")):
        assert call("git", *words, cwd=tmp_path).returncode == 0
    return tmp_path


def test_a_release_is_of_a_commit_and_of_its_time(tmp_path: Path) -> None:
    root = repository(tmp_path)
    of = source.read(root)
    assert of.version == "9.8.7" and of.created.endswith("Z")
    assert of.commit == call("git", "rev-parse", "HEAD", cwd=root).stdout.decode().strip()
    (root / "charts/llm-d-storage/more").touch()
    with pytest.raises(ReleaseError, match="1 files are not committed, among them charts/llm-d-storage/more"):
        source.read(root)
    assert source.read(root, allow_changes=True) == of


@pytest.mark.parametrize(("said", "key"), [("", None), ("~/key", Path("~/key").expanduser())])
def test_a_key_is_named_as_make_hands_it_on(monkeypatch: pytest.MonkeyPatch, said: str, key: Path | None) -> None:
    """make's RELEASE_KEY is there and empty where nobody has set it."""
    keys: list[Path | None] = []
    monkeypatch.setattr(cli.builder, "build", lambda *_, **options: keys.append(options["key"]))
    done = CliRunner().invoke(cli.app, ["build"], env={"RELEASE_KEY": said})
    assert (done.exit_code, keys) == (0, [key]), done.output


@pytest.mark.parametrize("words", [(), ("build",), ("push",)])
def test_the_commands_explain_themselves(words: tuple[str, ...]) -> None:
    done = call(sys.executable, "-m", "release", *words, "--help")
    assert done.returncode == 0 and b"Usage" in done.stdout
    assert words or b"make release RELEASE_KEY=" in done.stdout
