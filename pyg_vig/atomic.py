"""Write files atomically: a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file atomically: a reader sees the old content or the new, never a part.

    As with a plain write, symbolic links are followed, an existing file keeps its permissions, and a new one gets the
    default ones.

    Args:
        path: the file; its folder must exist.
        content: the new content.

    Raises:
        OSError: as :func:`atomic_replace` does.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pyg_vig.atomic import write_atomically
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(f"{folder}/notes.txt", b"k = 9")
        ...     Path(folder, "notes.txt").read_text()
        'k = 9'
    """
    with atomic_replace(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def atomic_replace(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path with the suffix of ``path``; the file written there replaces ``path`` on success.

    Args:
        path: the file; its folder must exist.

    Raises:
        FileNotFoundError: if the folder does not exist. All errors are raised before anything is written.
        PermissionError: if the folder is not writable.
        FileExistsError: if the path exists and is not a regular file, but a folder or a device, say.

    Example:
        >>> import tempfile, torch
        >>> from pyg_vig.atomic import atomic_replace
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_replace(f"{folder}/ones.pt") as temporary:
        ...         torch.save(torch.ones(2), temporary)
        ...     torch.load(f"{folder}/ones.pt")
        tensor([1., 1.])
    """
    path = Path(path)
    target = Path(os.path.realpath(path))  # replace the target of a symbolic link, not the link
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path.name}: the folder {path.parent} does not exist")
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"cannot write {path.name}: no permission to write in {path.parent}")
    if target.exists() and not target.is_file():
        raise FileExistsError(f"{path} exists and is not a regular file: choose another path")
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
