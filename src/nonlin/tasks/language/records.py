"""Rows of tables as Hugging Face's data sets keep them: JSON lines, plain or gzipped, and parquet."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nonlin.errors import MissingExtraError, TaskError

_ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet")


def files_of(folder: Path, split: str) -> list[Path]:
    """The files of a split, anywhere in `folder`, in order of their paths.

    They are known by a name that begins with the split's (`train.json`, `train-00000-of-00002.parquet`), or by the
    folder that they lie in (`train/0000.parquet`).
    """
    if not folder.is_dir():
        return []
    found = [path for path in sorted(folder.rglob("*")) if path.name.endswith(_ENDINGS) and path.is_file()]
    return [path for path in found if split in (path.name.replace("-", ".").split(".")[0], path.parent.name)]


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of one file.

    Raises
    ------
    TaskError : a file that cannot be read or is damaged, with the line
    MissingExtraError : parquet without pyarrow
    """
    yield from _parquet(path) if path.suffix == ".parquet" else _json_lines(path)


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "hf", f"Reading {path.name}") from None
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except (ArrowException, OSError) as error:
        raise TaskError(f"cannot read {path}: {str(error).splitlines()[0]}. {_AGAIN}") from None


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise TaskError(f"{path}, line {number}: expected a JSON object, got {line.strip()[:60]!r}.")
                    yield row
    except json.JSONDecodeError as error:
        raise TaskError(f"{path}, line {number}: no JSON object on one line ({error}). {_AGAIN}") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise TaskError(f"cannot read {path} after line {number}: {error}. {_AGAIN}") from None


_AGAIN = "It is damaged or was not copied to its end; get it again."


def text_of(row: dict[str, Any], name: str, path: Path) -> str:
    """A row's text in one column; TaskError if there is none."""
    value = row.get(name)
    if not isinstance(value, str):
        raise TaskError(f"{path} has a row without text in {name!r}; its columns: {', '.join(map(str, row))}.")
    return value
