"""Files from the net: checked by their checksum, and continued where a download broke off.

Nothing here happens unless the user asks for a download. There is one attempt: without a network the error comes
at once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from nonlin.errors import TaskError

_SECONDS = 30  # without a byte
_PIECE = 2**20


@dataclass(frozen=True)
class RemoteFile:
    """A file that is published with its checksum.

    Attributes
    ----------
    url : where it lies
    size : bytes; 0 if not published
    algorithm, checksum : "sha256" or "md5", and the digest in hexadecimal
    """

    url: str
    size: int
    algorithm: str
    checksum: str

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[1]


def digest(path: Path, algorithm: str) -> str:
    """A file's checksum in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def check(path: Path, remote: RemoteFile) -> None:
    """TaskError unless the file is the published one."""
    found = digest(path, remote.algorithm)
    if found != remote.checksum:
        size = path.stat().st_size
        short = f" It has {size:,} bytes of {remote.size:,}." if remote.size and size != remote.size else ""
        raise TaskError(
            f"{path} has the wrong checksum: {remote.algorithm} {found}, expected {remote.checksum}.{short} Delete it "
            f"and get it again from {remote.url}."
        )


def fetch(remote: RemoteFile, folder: Path, watcher: Callable[[int], None] | None = None) -> Path:
    """Download a file into a folder, unless it is there; the path.

    What has come so far lies beside it as ``NAME.part`` and is continued by the next call.

    Parameters
    ----------
    watcher : told the number of bytes that are there, after every piece

    Raises
    ------
    TaskError : no network, a server's refusal, a full disk, or a wrong checksum
    """
    path = folder / remote.name
    if path.is_file():
        check(path, remote)
        return path
    part = path.with_name(path.name + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _continue(remote, part, watcher)
        check(part, remote)
        os.replace(part, path)
    except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        kept = f" {part.stat().st_size:,} bytes are kept in {part} and will be continued." if part.is_file() else ""
        raise TaskError(
            f"{remote.url} could not be downloaded: {reason}.{kept} Try again later; or get the file by other means "
            f"and put it into {folder}."
        ) from None
    except OSError as error:
        raise TaskError(f"cannot write {part}: {error}") from None
    except TaskError:
        part.unlink(missing_ok=True)  # it is complete and wrong: nothing to continue
        raise
    return path


def _continue(remote: RemoteFile, part: Path, watcher: Callable[[int], None] | None) -> None:
    """Append to `part` what it lacks."""
    there = part.stat().st_size if part.is_file() else 0
    if remote.size and there >= remote.size:
        return
    asked = Request(remote.url, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        answer = urlopen(asked, timeout=_SECONDS)
    except HTTPError as error:
        if error.code == 416 and there:  # nothing lies behind what is here
            return
        raise
    begin = there if answer.status == 206 else 0  # 200: the server began anew
    with answer, open(part, "ab" if begin else "wb") as file:
        whole = remote.size or begin + int(answer.headers.get("Content-Length", 0))
        while piece := answer.read(_PIECE):
            file.write(piece)
            if watcher:
                watcher(file.tell())
    if part.stat().st_size < whole:
        raise ConnectionError(f"the connection ended after {part.stat().st_size:,} of {whole:,} bytes")
