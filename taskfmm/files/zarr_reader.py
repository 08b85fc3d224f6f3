"""A process of its own that reads one directory of Zarr; `files/datasets.py` runs it, as it runs `files/reader.py`.

Codecs inflate what they are told to, and one of them unpickles. So the description of an array is looked at before
the package zarr is: only codecs that compress or check are let through, as are only plain numbers.

``zarr_reader.py FD NAME...`` is asked and answers as `taskfmm.files.serving` says.
"""

from __future__ import annotations

import json
import math
import os
import sys
from typing import Any

from taskfmm.files import serving
from taskfmm.files.serving import Refused

CODECS = {
    *("bytes", "transpose", "sharding_indexed", "crc32c", "gzip", "zstd", "blosc"),
    *("zlib", "lz4", "shuffle", "numcodecs.zlib", "numcodecs.lz4", "numcodecs.shuffle"),
}
"""Those of Zarr itself, and what h5py and numcodecs offer for numbers. None of them runs what it reads."""

TYPES = ("int", "uint", "float", "complex")
"""How names of numbers begin in version 3, before their bits."""

LARGEST_DESCRIPTION = 2**20
"""Bytes of the description of one array."""

ROOM = 2**30
"""Bytes of memory for the library, which has threads, besides the chunks."""


def main(descriptor: int, names: list[str]) -> None:
    """Read the directory of a descriptor."""

    def find() -> tuple[dict[str, Any], str, int, list[str]]:
        os.fchdir(descriptor)
        serving.limit_time(serving.SECONDS)
        serving.limit_memory(ROOM)
        there = serving.of_names(names, array, os.listdir())
        largest = max((chunk_bytes(each) for each in there.values()), default=0)
        return there, contents(), largest + ROOM // 3, []

    serving.serve(find)


def contents() -> str:
    """The first few names, as text that any terminal takes."""
    found = sorted(entry.name for entry in os.scandir() if entry.is_dir() and not entry.is_symlink())
    names = [f"/{name[:40].encode('unicode_escape').decode()}" for name in found[:8]]
    return ", ".join(names) + (", ..." if len(found) > 8 else "") or "nothing"


def array(name: str, may_be_complex: bool) -> Any:
    """An array of numbers that lies in this directory; None if there is nothing of that name."""
    parts = name.split("/")
    for path in ("/".join(parts[: i + 1]) for i in range(len(parts))):
        if os.path.islink(path):
            raise Refused(f"/{path} is a link to data elsewhere, which is not followed: copy the data in")
    if ".." in parts or not os.path.isdir(name):
        return None
    described(name)
    import zarr
    from zarr.storage import LocalStore

    zarr.config.set({"async.concurrency": 1, "threading.max_workers": 1})
    found = zarr.open_array(store=LocalStore(".", read_only=True), path=name, mode="r")
    numbers(name, found.dtype, may_be_complex)
    if chunk_bytes(found) > serving.LARGEST_CHUNK:
        raise Refused(f"/{name} has chunks of {chunk_bytes(found):.1e} bytes: write it in smaller ones")
    return found


def described(name: str) -> None:
    """Refuse an array by its description, before anything that it names is loaded."""
    version, path = next(
        (
            (version, each)
            for version, each in ((3, "zarr.json"), (2, ".zarray"))
            if os.path.isfile(f"{name}/{each}")
        ),
        (0, ""),
    )
    if not version:
        raise Refused(f"/{name} is not an array, expected an array of numbers")
    with open(f"{name}/{path}", "rb") as file:
        content = file.read(LARGEST_DESCRIPTION + 1)
    if len(content) > LARGEST_DESCRIPTION:
        raise Refused(f"/{name} has a description of more than {LARGEST_DESCRIPTION} bytes")
    facts = json.loads(content)
    if version == 3 and facts.get("node_type") != "array":
        raise Refused(f"/{name} is not an array but a {facts.get('node_type')}, expected an array of numbers")
    kind = facts["data_type"] if version == 3 else facts["dtype"]
    begins = TYPES if version == 3 else tuple(f"{order}{code}" for order in "<>|" for code in "iufc")
    if not isinstance(kind, str) or not kind.startswith(begins):
        raise Refused(f"/{name} holds {str(kind)[:40]}, expected numbers: write it, for example, as float64")
    if version == 3:
        codecs = names_of(facts["codecs"])
    else:
        codecs = [each.get("id") for each in [*(facts["filters"] or ()), facts["compressor"]] if each]
    for codec in codecs:
        if codec not in CODECS:
            raise Refused(f"/{name} is packed by {str(codec)[:40]!r}, which is not read: write it with zstd")


def names_of(codecs: Any) -> list[str]:
    """Of codecs in version 3, and of those inside shards."""
    found = []
    for codec in codecs:
        if isinstance(codec, str):
            found.append(codec)
            continue
        found.append(codec["name"])
        inner = codec.get("configuration", {})
        found += names_of([*inner.get("codecs", ()), *inner.get("index_codecs", ())])
    return found


def numbers(name: str, dtype: Any, may_be_complex: bool) -> None:
    """Refuse what is not a number of the wanted kind."""
    if dtype.kind == "c" and not may_be_complex:
        raise Refused(f"/{name} holds complex numbers, expected real numbers: write the real part")
    if dtype.kind not in "iufc":
        raise Refused(f"/{name} holds {dtype}, expected numbers: write it, for example, as float64")


def chunk_bytes(found: Any) -> int:
    """Of what is unpacked at once: of a shard, where there are any."""
    return math.prod(found.shards or found.chunks) * found.dtype.itemsize


if __name__ == "__main__":
    serving.confine()
    main(int(sys.argv[1]), sys.argv[2:])
