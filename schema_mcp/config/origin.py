"""Where the settings of this process come from, kept so that they can be read again. It does not know who uses them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from schema_mcp.config.load import DEFAULT_FILE, load
from schema_mcp.config.model import Settings

#: Which file it is, and how it stands: device, inode, size in bytes, time of the last change in ns. None: no file.
Stamp: TypeAlias = tuple[int, int, int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What `load` takes. `directory`: where `config.toml` is looked for when `file` is None."""

    file: Path | None
    environment: Mapping[str, str]
    flags: Mapping[str, Any]
    directory: Path

    @property
    def path(self) -> Path:
        """The file, whether it is there or not."""
        return self.file or self.directory / DEFAULT_FILE

    def read(self) -> Settings:
        """The settings as they stand now. Raises: ConfigurationError."""
        return load(file=self.file, environment=self.environment, flags=self.flags, directory=self.directory)

    def stamp(self) -> Stamp:
        """Equal twice only if nobody has changed the file in between."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
