"""Files that only the proxy's own user may read: secrets in `DATA_DIR`, and the database."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

_OWNER_ONLY = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def private_directory(path: Path) -> None:
    """Makes the directory with mode 0700 where it is missing.

    One that exists keeps its mode: it may be a mounted volume, whose owner decides. All that we
    put into it is private by itself.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def touch_private(path: Path) -> None:
    """Makes an empty file with mode 0600 where none is; whatever is there stays as it is."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY))


def read_private(path: Path) -> str | None:
    """The text of the file without the blanks around it; `None` where there is no file."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None


def others_may_read(path: Path) -> bool:
    """Whether the mode of the file lets anybody but its owner do anything with it."""
    return bool(path.stat().st_mode & _OTHERS)


def create_private(path: Path, text: str) -> bool:
    """Writes a new file with mode 0600, safe on disk when this returns.

    `False` where a file is there already, which then is not touched. Nobody ever sees the file
    half written: not another process that starts at the same time, and not we after a crash.
    """
    private_directory(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write_new(draft, text)
        created = _publish(draft, path, text)
    finally:
        draft.unlink(missing_ok=True)
    if created:
        sync_directory(path.parent)
    return created


@contextlib.contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Whether we are the only process inside for this file, which is made when it is missing.

    It does not wait. The hold ends with the process, however that ends.
    """
    private_directory(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY)
    try:
        yield _locked(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _publish(draft: Path, path: Path, text: str) -> bool:
    try:
        os.link(draft, path)  # unlike a rename, it refuses to replace what is there
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links, as some mounted folders are
        with contextlib.suppress(FileExistsError):
            _write_new(path, text)
            return True
        return False
    return True


def _write_new(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Names that were made or changed in it are safe on disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
