"""Where a finished archive goes: a folder of the worker, or S3. It appears there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from cp_ops.privacy.export.archive import ArchiveVerificationError, sha256_of
from cp_ops.runtime.errors import CpOpsError, OptionsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

PARTIAL = ".partial"
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK)
"""What file systems without hard links answer."""


class DestinationError(CpOpsError):
    """The folder does not take the archive: full, not writable, or a file of that name is there."""


class ArchiveStore(Protocol):
    """An object store that takes archives. Errors are those of `cp_ops.runtime.errors`."""

    calls: int

    def put(self, bucket: str, key: str, body: IO[bytes]) -> None:
        """Write a new object, encrypted at rest; one that is there already is never replaced."""
        ...

    def read(self, bucket: str, key: str) -> Iterator[bytes]:
        """Read an object in blocks."""
        ...


class Destination(Protocol):
    """Where an archive goes."""

    def check(self) -> None:
        """Find out before the work whether the archive can go there; writes nothing.

        :raises OptionsError: naming what is wrong with `output_dir`.
        """
        ...

    def staging(self, name: str, owner: str) -> AbstractContextManager[IO[bytes]]:
        """Open the file to write to; what is not published is gone at the end.

        :param owner: the start of the names of this person's archives: leftovers of killed runs are removed.
        """
        ...

    def publish(self, staged: IO[bytes], name: str) -> str:
        """Put the finished archive in its place and give its path or URI."""
        ...


class Folder:
    """A folder that the worker can write to. Files are the worker's own (0600)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self) -> None:
        """Ask for an absolute path whose nearest existing folder is writable."""
        if not self._path.is_absolute():
            raise OptionsError(
                "output_dir",
                "is a relative path, and a worker's current directory is nowhere in particular",
                "Give an absolute path or an s3:// URI",
            )
        existing = next(folder for folder in (self._path, *self._path.parents) if folder.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise OptionsError("output_dir", f"{existing} is not a folder that the worker can write to")

    @contextmanager
    def staging(self, name: str, owner: str) -> Iterator[IO[bytes]]:
        """Open a hidden file beside the archive's place: the last step stays within one file system.

        :raises DestinationError: when the folder cannot be written to.
        """
        try:
            with self._hidden_file(name, owner) as opened:
                yield opened
        except OSError as error:
            raise DestinationError(f"{self._path}: {error.strerror}") from None

    @contextmanager
    def _hidden_file(self, name: str, owner: str) -> Iterator[IO[bytes]]:
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What a killed run left holds a person's data. The lease is per user: nobody else writes such a file now.
        for leftover in self._path.glob(f".{owner}*{PARTIAL}"):
            leftover.unlink(missing_ok=True)
        staged = self._path / f".{name}{PARTIAL}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(staged, flags, 0o600)
        try:
            with os.fdopen(descriptor, "w+b") as opened:
                yield opened
        finally:
            staged.unlink(missing_ok=True)

    def publish(self, staged: IO[bytes], name: str) -> str:
        """Give the file its name; a file that has it already is never replaced."""
        staged.flush()
        os.fsync(staged.fileno())
        # A link fails where the name is taken; a rename would replace the archive that is there.
        final = self._path / name
        hidden = self._path / f".{name}{PARTIAL}"
        try:
            os.link(hidden, final)
        except OSError as error:
            if error.errno not in NO_LINKS or final.exists():
                raise
            hidden.rename(final)
        # The folder as well as the file: after a power cut the archive would be on disk, and its name would not.
        folder = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return str(final)


class Bucket:
    """A bucket and a prefix in it. The archive waits in a file without a name, which cannot be left behind."""

    def __init__(self, store: ArchiveStore, bucket: str, prefix: str) -> None:
        self._store, self._bucket, self._prefix = store, bucket, prefix

    def check(self) -> None:
        """Nothing can be found out without writing: the upload itself says whether it is allowed."""

    @contextmanager
    def staging(self, name: str, owner: str) -> Iterator[IO[bytes]]:  # noqa: ARG002 - nothing can be left over
        """Open a nameless temporary file."""
        with tempfile.TemporaryFile() as opened:
            yield opened

    def publish(self, staged: IO[bytes], name: str) -> str:
        """Upload the archive and read it again.

        :raises ArchiveVerificationError: when what the store gives back is not what was sent.
        """
        key = f"{self._prefix}/{name}" if self._prefix else name
        expected = sha256_of(staged)
        staged.seek(0)
        self._store.put(self._bucket, key, staged)
        found = hashlib.sha256()
        for block in self._store.read(self._bucket, key):
            found.update(block)
        if found.hexdigest() != expected:
            raise ArchiveVerificationError(f"bucket {self._bucket} gave back other bytes than it was sent")
        return f"s3://{self._bucket}/{key}"


def destination(output_dir: str, store: ArchiveStore) -> Destination:
    """Read the option `output_dir`.

    :raises OptionsError: when it is a URI of another kind, or one without a bucket.
    """
    parts = urlsplit(output_dir)
    if parts.scheme == "s3":
        if not parts.netloc or parts.query or parts.fragment:
            raise OptionsError("output_dir", "is not an S3 URI", "Write s3://bucket/prefix")
        return Bucket(store, parts.netloc, parts.path.strip("/"))
    if "://" in output_dir:
        raise OptionsError("output_dir", f"{parts.scheme}:// is not supported", "Give a path or an s3:// URI")
    return Folder(Path(output_dir))
