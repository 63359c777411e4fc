"""A refusal names whose the path is that was refused, not only whose the volume is."""

from __future__ import annotations

from pathlib import Path

from llmd_storage_hooks.probe.collect.files import Files


def test_the_refused_path_its_folder_or_the_root_is_described(tmp_path: Path) -> None:
    channel = tmp_path / "probe" / "channel"
    channel.mkdir(parents=True)
    channel.chmod(0o750)
    files = Files(tmp_path)
    files.doing = "write probe/channel/1.hello"
    assert files.describe(".1.hello.tmp").startswith(f"{channel} belongs to ")
    assert "mode 0750" in files.describe(".1.hello.tmp")
    assert files.describe(str(channel.parent)).startswith(f"{channel.parent} belongs to ")
    assert files.describe().startswith(f"{tmp_path} belongs to ")
