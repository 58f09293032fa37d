"""Files that a run needs and does not make: published weights, code, statistics.

What is missing is found out before a model is built or the network asked. The network has five
seconds to answer; after that one message says what is missing, where it was looked for, and the
commands that fetch it elsewhere.

    weights = Resource("weights", Path("hub/checkpoints/a.pth"), "https://host/a.pth", 84)
    require([weights], "encoder a", "encoder=a")
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import tempfile
import threading
import urllib.request
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.core.store.cache import whole_folder
from bench.core.store.files import atomic, open_lock, write_text

ANSWER_SECONDS = 5.0
STALL_SECONDS = 30.0  # a download that delivers nothing for so long has failed
CHUNK = 1 << 20


@dataclass(frozen=True)
class Resource:
    """A file, or a folder that a zip archive's only folder becomes.

    path: where it is put; also: other places where it may lie; sha256: first digits, where its
    publisher states them.
    """

    what: str
    path: Path
    url: str
    megabytes: float | None = None
    sha256: str = ""
    archive: bool = False
    also: tuple[Path, ...] = ()

    def found(self) -> Path | None:
        """Where it lies, or None."""
        return next((place for place in (self.path, *self.also) if place.exists()), None)


def torch_hub() -> Path:
    """$TORCH_HOME/hub, else below the user's cache: as torch.hub.get_dir,
    without importing torch.
    """
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser() / "hub"


def require(resources: Iterable[Resource], name: str, words: str, download: bool = True) -> None:
    """Return once everything is there, fetching what is missing where a network answers.

    name: who needs it, for the message; words: what `bench.prepare` is told to stage it. Raises
    ValueError otherwise.
    """
    missing = [resource for resource in resources if resource.found() is None]
    for resource in missing:
        problem = unreachable(resource.url) if download else "the network is not asked"
        if problem:
            raise ValueError(missing_message(missing, name, words, problem))
        fetch(resource)


def missing_message(missing: list[Resource], name: str, words: str, problem: str) -> str:
    """What is missing, where it was looked for, and how it is fetched on another machine."""
    lines = [
        f"{name} lacks {len(missing)} file(s) and they cannot be fetched from here ({problem})"
    ]
    for resource in missing:
        places = " or ".join(str(place) for place in (resource.path, *resource.also))
        size = f" ({resource.megabytes:.0f} MB)" if resource.megabytes else ""
        lines.append(f"  missing: {resource.what}{size}, looked for at {places}")
    lines.append(f"Fetch it on a machine with a network: python -m bench.prepare {words}")
    lines.append("or with these commands, and put it in the same place here:")
    lines += [f"  {command(resource)}" for resource in missing]
    return "\n".join(lines)


def command(resource: Resource) -> str:
    """A shell line that fetches it to its place."""
    place, url = shlex.quote(str(resource.path)), shlex.quote(resource.url)
    if not resource.archive:
        return f"curl -fL --create-dirs -o {place} {url}"
    folder, zipped = shlex.quote(str(resource.path.parent)), shlex.quote(f"{resource.path}.zip")
    inside = shlex.quote(str(resource.path.parent / archive_folder(resource.url)))
    return (
        f"curl -fL --create-dirs -o {zipped} {url} && unzip -q {zipped} -d {folder} "
        f"&& mv {inside} {place}"
    )


def archive_folder(url: str) -> str:
    """The folder inside GitHub's archive of a commit or branch: <repository>-<ref>."""
    repository, _, reference = url.removesuffix(".zip").partition("/archive/")
    return f"{repository.rsplit('/', 1)[1]}-{reference.rsplit('/', 1)[-1]}"


def unreachable(url: str, seconds: float = ANSWER_SECONDS) -> str:
    """Why the address does not answer in time, "" if it does."""
    host = url.split("/")[2]
    answer = [f"no answer from {host} within {seconds:g} s"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, method="HEAD"), timeout=seconds
            ):
                answer[0] = ""
        except OSError as error:
            answer[0] = f"{host}: {getattr(error, 'reason', error)}"

    # a thread, since looking up the host's name knows no time-out
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answer[0]


def fetch(resource: Resource, progress: bool = True) -> Path:
    """Download it, whole or not at all, once however many processes ask;
    its SHA-256 is written beside it.

    Raises ValueError when the download fails or is not the published file.
    """
    resource.path.parent.mkdir(parents=True, exist_ok=True)
    with open_lock(resource.path.with_name(f".{resource.path.name}.lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (there := resource.found()) is not None:
            return there
        try:
            if resource.archive:
                _fetch_archive(resource, progress)
            else:
                with atomic(resource.path) as part:
                    _note(resource, _download(resource, part, progress))
        except OSError as error:
            raise ValueError(
                f"{resource.what} could not be fetched from {resource.url} ({error}): "
                f"{command(resource)}"
            ) from error
    return resource.path


def _download(resource: Resource, part: Path, progress: bool) -> str:
    """Write what the address gives to `part`; its SHA-256.

    Raises ValueError where it is not the published file, OSError where it is cut off.
    """
    from tqdm import tqdm

    digest = hashlib.sha256()
    with (
        urllib.request.urlopen(resource.url, timeout=STALL_SECONDS) as source,
        open(part, "wb") as target,
    ):
        total = int(source.headers.get("Content-Length") or 0)
        with tqdm(
            total=total or None,
            desc=resource.what,
            unit="B",
            unit_scale=True,
            disable=None if progress else True,
        ) as bar:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                target.write(chunk)
                bar.update(len(chunk))
    if total and part.stat().st_size != total:
        raise OSError(f"{part.stat().st_size} of {total} bytes came")
    hexadecimal = digest.hexdigest()
    if not hexadecimal.startswith(resource.sha256):
        raise ValueError(
            f"{resource.url} has SHA-256 {hexadecimal[:16]}..., not {resource.sha256}...: "
            "it was cut off or replaced"
        )
    return hexadecimal


def _fetch_archive(resource: Resource, progress: bool) -> None:
    """The only folder of a zip archive, in the resource's place."""
    with tempfile.TemporaryDirectory(dir=resource.path.parent, prefix=".") as around:
        part = Path(around) / "archive.zip"
        digest = _download(resource, part, progress)
        try:
            with zipfile.ZipFile(part) as archive, whole_folder(resource.path) as folder:
                tops = {name.partition("/")[0] for name in archive.namelist()}
                if len(tops) != 1:
                    raise OSError(f"the archive holds {len(tops)} folders, not one")
                for member in archive.infolist():
                    member.filename = member.filename.partition("/")[2]
                    if member.filename:
                        archive.extract(member, folder)
                _note(resource, digest)
        except zipfile.BadZipFile as error:
            raise OSError(f"not a zip archive: {error}") from error


def _note(resource: Resource, digest: str) -> None:
    write_text(_record(resource.path), f"{digest}  {resource.path.name}\n")


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def recorded_hash(path: Path) -> str:
    """The SHA-256 that `fetch` wrote beside a file, "" where there is none."""
    record = _record(path)
    return record.read_text(encoding="utf-8").split()[0] if record.is_file() else ""
