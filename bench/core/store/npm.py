"""Packages of npm that hold data: fetched with npm itself, and unpacked whole or not at all.

package = NpmPackage("emoji-datasource-twitter", "16.0.0", 62, ("package/emoji.json",))
package.fetch(Path("runs/cache"))       # the folder
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bench.core.store.cache import cached_folder

_SECONDS = 900.0  # that npm may take


@dataclass(frozen=True)
class NpmPackage:
    """megabytes: of the archive; members: what of it is unpacked, by how their paths begin."""

    name: str
    version: str
    megabytes: float
    members: tuple[str, ...]

    def place(self, cache: Path) -> Path:
        """Where it lies once it is fetched."""
        return cache / "npm" / f"{self.name}-{self.version}"

    @property
    def command(self) -> str:
        """What fetches the archive elsewhere."""
        return f"npm pack {self.name}@{self.version}"

    def fetch(self, cache: Path) -> Path:
        """The unpacked folder, fetched where it is not there.

        Raises ValueError where npm is missing or fails.
        """
        place = self.place(cache)
        by_hand = f"elsewhere: {self.command}, and unpack it as {place}"

        def make(folder: Path) -> None:
            if shutil.which("npm") is None:
                raise ValueError(f"{self.name} is fetched with npm, which is not here; {by_hand}")
            with tempfile.TemporaryDirectory() as around:
                try:
                    subprocess.run(
                        [*self.command.split(), "--silent"],
                        cwd=around, check=True, capture_output=True, text=True, timeout=_SECONDS,
                    )  # fmt: skip
                    (archive,) = Path(around).glob("*.tgz")
                    with tarfile.open(archive) as file:
                        self._unpack(file, folder)
                except (OSError, ValueError, subprocess.SubprocessError, tarfile.TarError) as error:
                    said = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1]
                    raise ValueError(f"{self.command} failed ({said}); {by_hand}") from error

        return cached_folder(place, make)

    def _unpack(self, archive: tarfile.TarFile, folder: Path) -> None:
        """The wanted files and nothing else that an archive can hold: no link, no path out of the
        folder. (`extractall(filter="data")` does so from Python 3.11.4 on.)
        """
        for member in archive.getmembers():
            path = PurePosixPath(member.name)
            content = archive.extractfile(member) if member.isreg() else None
            if content is None or not member.name.startswith(self.members) or ".." in path.parts:
                continue
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with content, open(folder / path, "wb") as file:
                shutil.copyfileobj(content, file)
