from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pyg_vig.atomic import atomic_replace, write_atomically


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_writing_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_stops_halfway_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_replace(tmp_path / "network.pt2") as temporary:
        temporary.write_bytes(b"half")
        assert temporary.suffix == ".pt2"
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_permissions_are_those_of_a_plain_write(tmp_path: Path) -> None:
    plain, ours = tmp_path / "plain", tmp_path / "ours"
    before = os.umask(0o027)
    try:
        plain.write_bytes(b"")
        write_atomically(ours, b"")
    finally:
        os.umask(before)
    assert mode(ours) == mode(plain) == 0o640
    ours.chmod(0o600)
    write_atomically(ours, b"again")
    assert mode(ours) == 0o600


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    link, file = tmp_path / "model", tmp_path / "scratch" / "weights"
    link.symlink_to(file)
    for content in (b"first", b"second"):  # initially, the link is dangling
        write_atomically(link, content)
        assert link.is_symlink()
        assert file.read_bytes() == content


def test_a_missing_folder_is_told_by_the_users_path(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"cannot write model\.safetensors: the folder .*nowhere does not exist"
    ):
        write_atomically(tmp_path / "nowhere" / "model.safetensors", b"")


def test_only_files_are_replaced(tmp_path: Path) -> None:
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (pipe, folder):
        with pytest.raises(FileExistsError, match=rf"{path.name} exists and is not a regular file"):
            write_atomically(path, b"")
    assert pipe.is_fifo()
    assert folder.is_dir()


def test_a_folder_that_cannot_be_written_is_told_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # even if the tests run as root
    with (
        pytest.raises(PermissionError, match=r"cannot write network.pt2: no permission to write in"),
        atomic_replace(tmp_path / "network.pt2"),
    ):
        pytest.fail("work that would be lost")
