"""Files that are whole at any time: the old one or the new one, never a part."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that at any time there is the old one or the new one, never a part.

    As with a plain write, a link is followed, an old file keeps its permissions, and a new one gets the usual ones.

    Args:
        path: the file; its folder must exist.
        content: what it shall hold.

    Raises:
        OSError: as :func:`replacing` does.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pyg_vig.atomic import write_atomically
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(f"{folder}/notes.txt", b"k = 9")
        ...     Path(folder, "notes.txt").read_text()
        'k = 9'
    """
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write to, with the suffix of ``path``; the file appears under its own name when it is complete.

    Args:
        path: the file; its folder must exist.

    Raises:
        FileNotFoundError: if there is no such folder; this and the following before anything is written.
        PermissionError: if nothing can be written there.
        FileExistsError: if the path is taken by what is no file, such as a folder or a device.

    Example:
        >>> import tempfile, torch
        >>> from pyg_vig.atomic import replacing
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(f"{folder}/ones.pt") as unfinished:
        ...         torch.save(torch.ones(2), unfinished)
        ...     torch.load(f"{folder}/ones.pt")
        tensor([1., 1.])
    """
    path = Path(path)
    target = Path(os.path.realpath(path))  # what a link points to: the link stays
    if not target.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} in")
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"no permission to write {path.name} in {path.parent}")
    if target.exists() and not target.is_file():
        raise FileExistsError(f"{path} is there and is no file: name another one to write")
    unfinished = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        if target.exists():
            unfinished.chmod(stat.S_IMODE(target.stat().st_mode))
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
