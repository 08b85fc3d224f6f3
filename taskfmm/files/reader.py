"""A process of its own that reads one HDF5 file of a user; `files/datasets.py` runs it, writes to it and reads back.

The HDF5 library trusts what it reads. A damaged or hostile file can crash it, send it round in circles or have it
inflate a megabyte to gigabytes. All of that happens to this process alone, which has little memory and time, loads
no plugins, writes no files and holds nothing else. It imports little, so that it starts quickly.

``reader.py FD NAME...`` opens file descriptor FD and answers as `taskfmm.files.serving` says.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
from functools import partial
from typing import Any

from taskfmm.files import serving
from taskfmm.files.serving import COMPLEX, LARGEST_CHUNK, ROOM, SECONDS, Refused
from taskfmm.files.snapshot import Joined, snapshot

MOST_INFLATED = 1032
"""Bytes that one byte of deflate can stand for; what claims more than this was not written by compressing."""

FILTERS = (1, 2, 3, 4, 5, 6, 32000)
"""Those inside HDF5 (gzip, shuffle, fletcher32, szip, nbit, scaleoffset) and inside h5py (lzf)."""

COMPRESSING = (1, 4, 5, 6, 32000)


def main(descriptor: int, names: list[str]) -> None:
    """Read the file of a descriptor."""

    def find() -> tuple[dict[str, Any], str, int, list[str]]:
        import h5py

        serving.limit_time(SECONDS)
        serving.limit_memory(ROOM)
        file = h5py.File(os.fdopen(descriptor, "rb", buffering=0), "r")
        size = os.fstat(descriptor).st_size
        there = serving.of_names(
            names, lambda name, may_be_complex: dataset(file, name, size, may_be_complex), file
        )
        notes: list[str] = []
        missing = {name.removeprefix(COMPLEX) for name in names} & {"sources", "masses"} - there.keys()
        if missing and file.get("sources", getlink=True) is None:
            parts, notes = snapshot(
                lambda name: dataset(file, name, size, False),
                partial(header, file),
                lambda name: file.get(name, getlink=True) is not None,
            )
            there |= {name: found for name, found in parts.items() if name in missing}
        return there, contents(file), max(map(chunk_bytes, there.values()), default=0), notes

    serving.serve(find)


def contents(file: Any) -> str:
    """The first few names, as text that any terminal takes."""
    names = [f"/{name[:40].encode('unicode_escape').decode()}" for name in itertools.islice(file, 9)]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") or "nothing"


def dataset(file: Any, name: str, file_size: int, may_be_complex: bool) -> Any:
    """A dataset of numbers stored whole in this very file; None if there is nothing of that name."""
    import h5py

    parts = name.split("/")
    for path in ("/".join(parts[: i + 1]) for i in range(len(parts))):
        link = file.get(path, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise Refused(f"/{path} is a link to data elsewhere, which is not followed: copy the data in")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise Refused(f"/{name} is not a dataset but a group or a type, expected a dataset")
    if found.external or found.is_virtual:
        raise Refused(f"/{name} is stored in other files, which are not read: copy the data in")
    if found.shape is None:
        raise Refused(f"/{name} holds nothing, expected an array")
    numbers(name, found, may_be_complex)
    stored_whole(name, found, file_size)
    return found


def numbers(name: str, found: Any, may_be_complex: bool) -> None:
    """Look at the class of the type first: only of numbers is a NumPy dtype made."""
    import h5py

    kind = found.id.get_type().get_class()
    if kind in (h5py.h5t.INTEGER, h5py.h5t.FLOAT) and found.dtype.kind in "iuf":
        return
    if kind == getattr(h5py.h5t, "COMPLEX", None) or (kind == h5py.h5t.COMPOUND and is_complex(found)):
        if may_be_complex and found.dtype.kind == "c":
            return
        raise Refused(f"/{name} holds complex numbers, expected real numbers: write the real part")
    what = {
        h5py.h5t.STRING: "strings",
        h5py.h5t.VLEN: "arrays of any length",
        h5py.h5t.COMPOUND: "records",
        h5py.h5t.REFERENCE: "references",
        h5py.h5t.ENUM: "named values",
        h5py.h5t.ARRAY: "arrays",
        h5py.h5t.OPAQUE: "raw bytes",
        h5py.h5t.BITFIELD: "bits",
    }.get(kind, "something else")
    expected, as_what = ("numbers", "complex128") if may_be_complex else ("real numbers", "float64")
    raise Refused(f"/{name} holds {what}, expected {expected}: write it, for example, as {as_what}")


def is_complex(found: Any) -> bool:
    """How h5py writes complex numbers: two floats of one size that is NumPy's, and nothing else."""
    import h5py

    kind = found.id.get_type()
    if kind.get_nmembers() != 2 or [kind.get_member_name(i) for i in (0, 1)] != [b"r", b"i"]:
        return False
    members = [kind.get_member_type(i) for i in (0, 1)]
    sizes = {member.get_size() for member in members}
    floats = all(member.get_class() == h5py.h5t.FLOAT for member in members)
    return floats and sizes in ({4}, {8}, {16}) and kind.get_size() == 2 * sizes.pop()


def stored_whole(name: str, found: Any, file_size: int) -> None:
    """Whatever the shape declares must be in the file, or be able to come out of what is there."""
    import h5py

    layout = found.id.get_create_plist()
    filters = [layout.get_filter(i)[0] for i in range(layout.get_nfilters())]
    for number in filters:
        if number not in FILTERS:
            raise Refused(f"/{name} is packed by filter {number}, which is not read: write it with gzip")
    declared, stored = math.prod(found.shape) * found.dtype.itemsize, found.id.get_storage_size()
    if not declared:
        return
    packed = any(number in COMPRESSING for number in filters)
    if layout.get_layout() == h5py.h5d.CHUNKED:
        if chunk_bytes(found) > LARGEST_CHUNK:
            raise Refused(f"/{name} has chunks of {chunk_bytes(found):.1e} bytes: write it in smaller ones")
        n_chunks = math.prod(-(-n // c) for n, c in zip(found.shape, found.chunks, strict=True))
        # the cheap bound first: every chunk takes a byte at least
        whole = n_chunks <= stored and n_chunks == found.id.get_num_chunks()
    else:
        whole = stored == declared
    if not whole or stored > file_size or declared > stored * (MOST_INFLATED if packed else 1):
        raise Refused(
            f"/{name} declares shape {found.shape}, {declared:.1e} bytes, but only {stored} bytes of it are "
            "in the file: write all of it"
        )


def header(file: Any, name: str) -> list[float] | None:
    """A few numbers in the attributes of /Header; None where there are none."""
    import h5py

    if not isinstance(file.get("Header", getlink=True), h5py.HardLink) or name not in file["Header"].attrs:
        return None
    kind = file["Header"].attrs.get_id(name)
    if kind.get_type().get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT) or math.prod(kind.shape) > 64:
        raise Refused(f"/Header has {name} that is no number, or many")
    return [float(number) for number in file["Header"].attrs[name].reshape(-1)]


def chunk_bytes(found: Any) -> int:
    """Of one chunk, unpacked; 0 where there are no chunks."""
    if isinstance(found, Joined):
        return max(chunk_bytes(part) for part in found.parts)
    chunks = getattr(found, "chunks", None)  # arrays have none
    return math.prod(chunks) * found.dtype.itemsize if chunks else 0


if __name__ == "__main__":
    serving.confine()
    main(int(sys.argv[1]), sys.argv[2:])
