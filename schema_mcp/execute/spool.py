"""Results of operations as files: rows as they stream, a line of JSON each, and pages of them.

Each run of a server has a folder of its own and holds a lock on it for as long as it lives, so that the next one can
tell what a dead one has left. Only this user can read the files. It knows no operation and no database.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROWS, ANSWER = ".rows", ".json"
#: An answer that is being written.
_PART = ".part"
_LOCK = "lock"


class Spool:
    """The file of one result's rows. `max_rows`, `max_bytes`: of it; `left_bytes` tells what all files together leave,
    and `grown` is told by how many bytes it grows.

    `rows`, `size`: what it holds.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_rows: int,
        max_bytes: int,
        left_bytes: Callable[[], int],
        grown: Callable[[int], None],
    ) -> None:
        self.path = path
        self.max_rows = max_rows
        self.rows = 0
        self.size = 0
        self._max_bytes = max_bytes
        self._left_bytes = left_bytes
        self._grown = grown

    @property
    def room(self) -> int:
        """How many bytes more it takes."""
        return min(self._max_bytes - self.size, self._left_bytes())

    def begin(self) -> None:
        """Empties it, as a try that is made again begins at the first row. Raises: OSError."""
        self._grown(-self.size)
        self.rows = self.size = 0
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))

    def write(self, rows: Sequence[bytes]) -> None:
        """Adds the rows. Blocks; for a thread. Raises: OSError, also where the file was removed meanwhile."""
        # Without O_CREAT: a thread that outlives its cancelled operation must not make the file anew.
        with open(os.open(self.path, os.O_WRONLY | os.O_APPEND), "ab") as file:
            file.writelines(row + b"\n" for row in rows)
        self.rows += len(rows)
        size = sum(map(len, rows)) + len(rows)
        self.size += size
        self._grown(size)


@dataclass(frozen=True, slots=True)
class SpooledPage:
    """Rows of a file, and where the next one begins. `last`: there are no more."""

    rows: tuple[bytes, ...]
    offset: int
    last: bool


def read_page(path: Path, offset: int, limit: int, max_bytes: int) -> SpooledPage:
    """Rows from byte `offset` on: at most `limit`, and together at most `max_bytes`, but one at least. Blocks.

    Raises: OSError, also where a row is broken off.
    """
    rows: list[bytes] = []
    size, last = 0, True
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if rows and (len(rows) == limit or size + len(line) > max_bytes):
                last = False
                break
            if not line.endswith(b"\n"):
                raise OSError("a row is broken off")
            rows.append(line[:-1])
            size += len(line)
    return SpooledPage(tuple(rows), offset + size, last)


class ResultFolder:
    """The folder of this run of a server under `base`, which servers of one user share. All of it blocks."""

    def __init__(self, base: Path, instance: str) -> None:
        self.base = base
        self.instance = instance
        self._lock: int | None = None

    def open(self) -> None:
        """Makes the folder and holds its lock, anew where somebody has removed it. Raises: OSError."""
        if self._lock is not None and not self._is_there(self._lock):
            os.close(self._lock)
            self._lock = None
        if self._lock is None:
            self.base.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.chmod(self.base, 0o700, follow_symlinks=True)  # refused where another user has made it
            folder = self.base / self.instance
            folder.mkdir(exist_ok=True, mode=0o700)
            self._lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def path(self, instance: str, id_: str, suffix: str) -> Path:
        """Where that part of the operation's result is."""
        return self.base / instance / f"{id_}{suffix}"

    def write_answer(self, id_: str, answer: bytes) -> None:
        """Stores the answer, all of it or nothing. Raises: OSError."""
        part = self.path(self.instance, id_, _PART)
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(answer)
            part.rename(self.path(self.instance, id_, ANSWER))
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def remove(self, instance: str, id_: str) -> None:
        """Removes the operation's files, where there are any."""
        for suffix in (ROWS, ANSWER, _PART):
            self.path(instance, id_, suffix).unlink(missing_ok=True)

    def dead(self) -> list[str]:
        """The runs of servers that are no more and have left a folder."""
        return [folder.name for folder in self._folders() if folder.name != self.instance and not _is_held(folder)]

    def results(self, instance: str) -> frozenset[str]:
        """The ids of which that run has files."""
        return frozenset(
            path.stem for path in (self.base / instance).glob("op_*") if path.suffix in (ROWS, ANSWER, _PART)
        )

    def drop(self, instance: str) -> None:
        """Removes the folder of a run with all that is in it."""
        shutil.rmtree(self.base / instance, ignore_errors=True)

    def size(self) -> int:
        """Bytes of all results under `base`."""
        total = 0
        for folder in self._folders():
            for path in folder.glob("op_*"):
                try:
                    total += path.stat().st_size
                except FileNotFoundError:
                    continue
        return total

    def close(self, *, drop: bool) -> None:
        """Gives the lock back. `drop`: nobody will ask for these results again; so too where there are none."""
        if self._lock is None:
            return
        if drop or not self.results(self.instance):
            self.drop(self.instance)
        os.close(self._lock)
        self._lock = None

    def _is_there(self, lock: int) -> bool:
        with suppress(OSError):
            return os.path.samestat(os.fstat(lock), os.stat(self.base / self.instance / _LOCK))
        return False

    def _folders(self) -> Iterator[Path]:
        if self.base.is_dir():
            yield from (path for path in self.base.iterdir() if path.is_dir())


def _is_held(folder: Path) -> bool:
    """Whether a server lives whose folder it is."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
