"""A process of its own that reads one HDF5 file of a user; `files/datasets.py` runs it, writes to it and reads back.

The HDF5 library trusts what it reads. A damaged or hostile file can crash it, send it round in circles or have it
inflate a megabyte to gigabytes. All of that happens to this process alone, which has little memory and time, loads
no plugins, writes no files and holds nothing else. It imports nothing of taskfmm, so that it starts quickly.

``reader.py FD NAME...`` opens file descriptor FD and answers in lines of JSON: first what the named datasets are,
then, for each line ``NAME FIRST LAST`` that it is sent, the number of bytes of those rows, and the bytes. A dataset
that is named as ``complex:NAME`` may hold complex numbers.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

MOST_INFLATED = 1032
"""Bytes that one byte of deflate can stand for; what claims more than this was not written by compressing."""

LARGEST_CHUNK = 2**30
"""A chunk is read whole, whatever part of it is wanted."""

FILTERS = (1, 2, 3, 4, 5, 6, 32000)
"""Those inside HDF5 (gzip, shuffle, fletcher32, szip, nbit, scaleoffset) and inside h5py (lzf)."""

COMPRESSING = (1, 4, 5, 6, 32000)

COMPLEX = "complex:"

SECONDS = 8
"""Of processor time to find out what is in the file; reading it gets more, by its size."""

SLOWEST = 5e6
"""Bytes a second; inflating takes a tenth of that time."""

ROOM = 2**29
"""Bytes of memory for the library besides the chunks."""


class Refused(Exception):
    """The file holds something that is not read; the text says what."""


def main(descriptor: int, names: list[str]) -> None:
    """Read the file of a descriptor."""

    def find() -> tuple[dict[str, Any], str, int, list[str]]:
        import h5py

        limit_time(SECONDS)
        limit_memory(ROOM)
        file = h5py.File(os.fdopen(descriptor, "rb", buffering=0), "r")
        size = os.fstat(descriptor).st_size
        there = of_names(names, lambda name, may_be_complex: dataset(file, name, size, may_be_complex))
        notes: list[str] = []
        missing = {name.removeprefix(COMPLEX) for name in names} & {"sources", "masses"} - there.keys()
        if missing and file.get("sources", getlink=True) is None:
            parts, notes = snapshot(file, size)
            there |= {name: found for name, found in parts.items() if name in missing}
        return there, contents(file), max(map(chunk_bytes, there.values()), default=0), notes

    serve(find)


def of_names(names: list[str], look: Callable[[str, bool], Any]) -> dict[str, Any]:
    """The datasets of some names that are there; look : gives one, by name and whether it may be complex, or None."""
    plain = [name.removeprefix(COMPLEX) for name in names]
    found = {name: look(name, name != given) for name, given in zip(plain, names, strict=True)}
    return {name: data for name, data in found.items() if data is not None}


def serve(find: Callable[[], tuple[dict[str, Any], str, int, list[str]]]) -> None:
    """Describe the datasets, then send what is asked for until the input ends.

    find : gives those that are there, what else there is, as text, the bytes of the largest chunk, and what is to be
        said of the file
    """
    answers = sys.stdout.buffer
    try:
        there, names, largest, notes = find()
        limit_time(SECONDS + sum(data.nbytes for data in there.values()) / SLOWEST)
        limit_memory(ROOM + 3 * largest)
        facts = {name: (data.shape, data.dtype.str) for name, data in there.items()}
        say(answers, found=facts, names=names, notes=notes)
        for line in sys.stdin:
            name, first, last = line.rsplit(maxsplit=2)
            rows = there[name][int(first) : int(last)]
            say(answers, bytes=rows.nbytes)
            answers.write(rows.data if rows.flags.c_contiguous else rows.tobytes())
            answers.flush()
    except Refused as error:
        say(answers, refused=str(error))
    except Exception as error:
        say(answers, damaged=f"{type(error).__name__}: {error}")


def say(answers: Any, **facts: Any) -> None:
    """One line of JSON."""
    answers.write(json.dumps(facts).encode() + b"\n")
    answers.flush()


def limit_time(seconds: float) -> None:
    """Have the system end this process after so much more work."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def limit_memory(extra: int) -> None:
    """Have allocations fail beyond so much more than is in use, where the system tells how much that is."""
    try:
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (used + extra, resource.getrlimit(resource.RLIMIT_AS)[1]))


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


class Joined:
    """Datasets, or arrays, one after the other, as one that is read by rows."""

    def __init__(self, parts: list[Any]) -> None:
        import numpy

        self.parts = parts
        self.dtype = numpy.result_type(*(part.dtype for part in parts))
        self.shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, rows: slice) -> Any:
        import numpy

        found, begin = [numpy.empty((0, *self.shape[1:]), self.dtype)], 0
        for part in self.parts:
            first, last = max(rows.start - begin, 0), min(rows.stop - begin, len(part))
            if first < last:
                found.append(part[first:last])
            begin += len(part)
        return numpy.concatenate(found)


def snapshot(file: Any, file_size: int) -> tuple[dict[str, Any], list[str]]:
    """``sources`` and ``masses`` of all particles of a snapshot of Gadget and its kin, and notes; nothing of others.

    Masses that are the same for all particles of a type stand in the table of the header.
    """
    import numpy

    looked = {i: dataset(file, f"PartType{i}/Coordinates", file_size, False) for i in range(6)}
    there = {i: found for i, found in looked.items() if found is not None}
    if not there:
        return {}, []
    if (n_files := header(file, "NumFilesPerSnapshot")) and n_files[0] > 1:
        raise Refused(f"is one of the {n_files[0]:g} files of a snapshot: write all particles into one file")
    table, box = header(file, "MassTable") or [], header(file, "BoxSize")
    masses = []
    for i, found in there.items():
        if len(found.shape) != 2 or found.shape[1] != 3:
            raise Refused(f"/PartType{i}/Coordinates has shape {found.shape}, expected (n, 3)")
        mass = dataset(file, f"PartType{i}/Masses", file_size, False)
        if mass is None and len(table) > i and table[i] > 0.0:
            mass = numpy.broadcast_to(table[i], len(found))
        if mass is not None and mass.shape != (len(found),):
            raise Refused(f"/PartType{i}/Masses has shape {mass.shape}, expected ({len(found)},)")
        masses.append(mass)
    refuse_incomplete(file, file_size, there, table)
    types = ", ".join(f"PartType{i} ({len(found)})" for i, found in there.items())
    notes = [f"a snapshot with the particles of {types}, all of which are sources"]
    if box and max(box) > 0.0:
        notes.append(f"a box of {max(box):g}, which is not repeated")
    places = Joined(list(there.values()))
    missing = [i for i, mass in zip(there, masses, strict=True) if mass is None]
    if missing:
        return {"sources": places}, [*notes, f"no masses for PartType{missing[0]}"]
    return {"sources": places, "masses": Joined(masses)}, [*notes, "masses, which --kernel gravity takes"]


def refuse_incomplete(file: Any, file_size: int, there: dict[int, Any], table: list[float]) -> None:
    """Refuse a snapshot with fewer particles than its header tells, or with masses that are nowhere.

    there : coordinates, by the number of the type. Particles without masses, as tracers, need none.
    """

    def has_masses(i: int) -> bool:
        own = dataset(file, f"PartType{i}/Masses", file_size, False)
        return own is not None or (len(table) > i and table[i] > 0.0)

    without = [i for i in range(6) if i not in there and file.get(f"PartType{i}", getlink=True) is not None]
    heavy = [i for i in without if has_masses(i)]
    if heavy:
        raise Refused(
            f"/PartType{heavy[0]} has masses and no Coordinates: write all particles with their places"
        )
    for name in ("NumPart_ThisFile", "NumPart_Total"):
        for i, n in enumerate(header(file, name) or []):
            found = len(there[i]) if i in there else 0
            if n > found and i not in without:
                raise Refused(
                    f"has {found} particles of PartType{i}, and the header's {name} is {n:g}: write all into one file"
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


def confine() -> None:
    """Before anything is read: this process writes nothing, and ends when its time is over."""
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    for nothing in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(nothing, (0, 0))


if __name__ == "__main__":
    confine()
    main(int(sys.argv[1]), sys.argv[2:])
