"""A person would lose: a base that is the same next year, and for both architectures."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from image import base, debian, project


def no_program(argv: object, **_: object) -> None:
    raise AssertionError(f"{argv} was run")


@pytest.mark.parametrize("architecture", sorted(debian.LOADERS))
def test_the_lock_has_every_package_in_one_version_for_all(architecture: str) -> None:
    locked = debian.locked(architecture)
    assert [one.name for one in locked] == sorted(debian.PACKAGES)
    assert {(one.name, one.version) for one in locked} == {(p.name, p.version) for p in debian.locked("amd64")}
    assert all(len(one.sha256) == 64 for one in locked)


def test_what_was_fetched_once_is_not_asked_for_again(tmp_path: Path) -> None:
    for one in debian.locked("arm64"):
        (tmp_path / f"{one.sha256}.deb").touch()
    files = debian.fetch(no_program, "arm64", tmp_path)
    assert [file.stem for file in files] == [one.sha256 for one in debian.locked("arm64")]


def test_a_file_that_the_lock_does_not_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(_: object, architecture: str, names: list[str], folder: Path) -> list[Path]:
        files = [folder / one.name for one in debian.locked(architecture)]
        for file in files:
            file.write_text("other")
        return files[:1]

    monkeypatch.setattr(debian, "_download", other)
    with pytest.raises(debian.BaseError, match=r"Debian's base-files is not the file that image/debian\.lock names"):
        debian.fetch(no_program, "amd64", tmp_path / "cache")
    newest = debian.fetch(no_program, "amd64", tmp_path / "cache", exact=False)
    assert [file.stem for file in newest] == [hashlib.sha256(b"other").hexdigest()]


def test_security_updates_are_asked_for_where_they_are() -> None:
    text = debian.sources(
        {"http://a/debian/": "Debian", "http://b/": "Debian-Security", "http://c/": "Debian Backports"}
    )
    key = f"[signed-by={debian.KEYRING}]"
    assert text.splitlines() == [
        f"deb {key} http://a/debian/ trixie main",
        f"deb {key} http://a/debian/ trixie-updates main",
        f"deb {key} http://b/ trixie-security main",
    ]


def test_licences_stay_when_the_rest_of_the_documentation_goes(tmp_path: Path) -> None:
    for name in (
        "usr/share/doc/x/copyright",
        "usr/share/doc/x/changelog.gz",
        "usr/share/man/man1/x.1",
        "usr/bin/py3clean",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    base.trim(tmp_path)
    assert [str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*") if f.is_file()] == ["usr/share/doc/x/copyright"]


def test_certificates_are_one_file_where_libssl_looks(tmp_path: Path) -> None:
    folder = tmp_path / "usr/share/ca-certificates/mozilla"
    folder.mkdir(parents=True)
    for name in "ba":
        (folder / f"{name}.crt").write_text(f"{name}\n")
    base.certificates(tmp_path)
    assert (tmp_path / "etc/ssl/certs/ca-certificates.crt").read_text() == "a\nb\n"
    assert (tmp_path / "usr/lib/ssl/cert.pem").readlink() == Path("/etc/ssl/certs/ca-certificates.crt")


@pytest.mark.parametrize("requirements", project.REQUIREMENTS, ids=lambda file: file.stem)
def test_what_the_image_depends_on_is_locked_for_both_machines(requirements: Path) -> None:
    """A list for x86_64 alone would leave an arm64 image without these packages, and without a word."""
    named = [line for line in requirements.read_text().splitlines() if "==" in line]
    assert named
    for line in named:
        assert "platform_machine" not in line or all(machine in line for machine in debian.MACHINES), line
