"""Fuzzers of all that reads what others wrote: ``python tests/fuzz.py hdf5|yaml|cli|plan --seconds 600``.

Each case runs in a process of its own with bounded memory. A case fails when that process is ended by a signal, takes
longer than ten seconds, or raises anything but the errors that are meant for users; its file is then kept.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import io
import itertools
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

HANG = 10
"""Seconds of processor time; of the clock, on a busy machine, six times as many."""

MEMORY = 4 << 30
FINE, REFUSED, OTHER, FAILED = 0, 1, 2, 3
HARMLESS = {FINE: "fine", REFUSED: "refused", OTHER: "other numbers"}
"""Other numbers than those of the file that was not changed: nothing can tell if they are meant."""

Case = tuple[bytes, Callable[[Path], int]]
"""What is kept if it fails, and what to do with the file of it; returns one of `HARMLESS`."""


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A few bytes flipped, set, spliced, copied, or cut off; more often near the front, where headers are."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        place = rng.randrange(max(1, min(len(data), rng.choice((200, 2000, 8000, 10**6)))))
        action = rng.random()
        if action < 0.4:
            data[place : place + 1] = bytes([(data[place : place + 1] or b"\0")[0] ^ 1 << rng.randrange(8)])
        elif action < 0.6:
            data[place : place + 1] = bytes([rng.choice((0, 1, 127, 128, 255))])
        elif action < 0.75:
            value = rng.choice((0, 2**31, 2**32, 2**63 - 1, 2**64 - 1, place, len(data)))
            data[place : place + 8] = value.to_bytes(8, "little")
        elif action < 0.9:
            origin, length = rng.randrange(len(data) + 1), rng.randrange(64)
            data[place : place + length] = data[origin : origin + length]
        elif action < 0.95:
            del data[rng.randrange(len(data) + 1) :]
        else:
            data[place : place + 4] = rng.randbytes(4)
    return bytes(data)


def hdf5_files() -> list[bytes]:
    """Small valid inputs in every layout and every version of the format."""
    import h5py

    rng = np.random.default_rng(60917)
    arrays = {"sources": rng.random((60, 3)), "charges": rng.random(60), "targets": rng.random((9, 3))}
    arrays["dipoles"] = rng.random((60, 3)) + 1j  # of a kernel of waves
    layouts = [{}, {"fletcher32": True}, {"compression": "gzip", "shuffle": True}, {"compression": "lzf"}]
    found = []
    for layout in [*layouts, {"compression": "gzip", "unlimited": True}]:
        for version in ("earliest", "v108", "latest"):
            image = io.BytesIO()
            with h5py.File(image, "w", libver=version) as file:
                for name, array in arrays.items():
                    options = {key: value for key, value in layout.items() if key != "unlimited"}
                    if options:
                        options["chunks"] = (8, *array.shape[1:])
                    if "unlimited" in layout:
                        options["maxshape"] = (None, *array.shape[1:])
                    file.create_dataset(name, data=array, **options)
                file.attrs["version"] = "1"
            found.append(image.getvalue())
    return found


def hdf5(rng: random.Random) -> Iterator[Case]:
    """The reader of input files, of one vector and of many."""
    from taskfmm import errors
    from taskfmm.files import charges as files
    from taskfmm.kernels import KERNELS

    def read(path: Path, kernel: str) -> int:
        try:
            files.read(path, KERNELS[kernel])
        except errors.InputError:
            return REFUSED
        return FINE

    valid = hdf5_files()
    while True:
        kernel = rng.choice(["biot_savart", "helmholtz", "helmholtz", "laplace"])
        yield mutated(rng.choice(valid), rng), partial(read, kernel=kernel)


YAML = [
    "",
    "jobqueue:\n  slurm:\n    cores: 4\n    memory: 8GB\n    queue: long\n    walltime: '01:00:00'\n",
    "scheduler: threads\nworkers: 2\nthreads: 4\nmemory: 1e9\n",
    "matrix:\n  n: [1000, 10000]\n  eps: [1e-3, 1e-6]\n  shape: [sphere, cube]\n",
    "a: &a [1, 2]\nb: [*a, *a]\nc: !!python/object/apply:os.system ['true']\n",
    "a: &a ['x','x','x']\n"
    + "".join(f"{c}: &{c} [*{p},*{p},*{p},*{p},*{p}]\n" for p, c in itertools.pairwise("abcdefghi")),
]


YAML_READERS = [("taskfmm.sessions.configurations", "load"), ("benchmarks.batches.matrix", "read")]
"""Functions of a path."""


def yaml(rng: random.Random) -> Iterator[Case]:
    """The readers of scheduler and batch files, as far as they are there."""
    from taskfmm.errors import TaskfmmError

    readers = []
    for module, function in YAML_READERS:
        try:
            readers.append(getattr(importlib.import_module(module), function))
        except (ImportError, AttributeError):
            print(f"{module}.{function} is not there")
    if not readers:
        sys.exit("no reader of YAML is there")
    words = b"a: b- [],{}&*!|>'\"#%@\n  0 1e9 -1 null true ~ .nan .inf <<: ? !!python/name:os.system".split(
        b" "
    )
    while True:
        content = mutated(rng.choice(YAML).encode() or b" ", rng)
        for _ in range(rng.randrange(6)):
            place = rng.randrange(len(content) + 1)
            content = content[:place] + rng.choice((*words, b" ", b"\n", b"[" * 5000)) + content[place:]
        chosen = rng.choice(readers)

        def read(path: Path, reader: Callable = chosen) -> int:
            try:
                reader(path)
            except TaskfmmError:
                return REFUSED
            return FINE

        yield content, read


VALUES = ["", "0", "-1", "1", "7", "300", "1e-3", "1e-400", "nan", "inf", "1e999", "9" * 30, "laplace", "stokes",
          "viscosity=2", "lam=1j", "charges=", "potential,hessian", "\udcff", "ü", "a\nb", "../x", "/dev/full",
          "/dev/null", "x" * 5000, "--", "-o", "%s", "true"]  # fmt: skip
OPTIONS = ["--eps", "--order", "--leaf-size", "--kernel", "--kernel-param", "--outputs", "--json", "-o",
           "--gradient", "--check", "--charges-batch", "--seed", "--charges", "-n", "--debug",
           "--help", "--version", "--nothing"]  # fmt: skip
FILES = [
    "in.h5",
    "batch.h5",
    "bad.h5",
    "none.h5",
    "folder",
    "loop.h5",
    "pipe.h5",
    "out.h5",
    "/dev/zero",
    "text.h5",
]


def cli(rng: random.Random) -> Iterator[Case]:
    """Random command lines in a directory of good and bad files; kept as text."""
    import h5py

    arrays = np.random.default_rng(90113)
    images = {}
    for name, shape in (("in.h5", (50,)), ("batch.h5", (3, 50))):
        image = io.BytesIO()
        with h5py.File(image, "w") as file:
            file["sources"], file["charges"] = arrays.random((50, 3)), arrays.random(shape)
        images[name] = image.getvalue()

    def arguments() -> list[str]:
        command = rng.choice(["run", "run", "run", "explain", "generate", "generate", "bench", "walk"])
        found = [command]
        if command in ("run", "explain"):
            found.append(rng.choice(FILES[:3] if rng.random() < 0.7 else FILES))
        if command == "generate":
            found.append(rng.choice(["sphere", "cube", "plummer", "clusters", "torus"]))
        if rng.random() < 0.8:
            found += ["-o", rng.choice(["out.h5", "out.h5", "none/out.h5", *FILES])]
        for _ in range(rng.randrange(5)):
            option = rng.choice(OPTIONS)
            found.append(option)
            if rng.random() < 0.6:
                found.append(rng.choice(VALUES))
        if command in ("generate", "bench"):
            found += ["-n", rng.choice(["0", "5", "100", "-3", "1e3", "10000000000000"])]
        return found

    while True:
        chosen, bad = arguments(), mutated(images["in.h5"], rng)
        yield repr(chosen).encode(), lambda path, a=chosen, b=bad: command_line(a, {**images, "bad.h5": b})


def command_line(arguments: list[str], content: dict[str, bytes]) -> int:
    """Run one command line in a new directory; anything but a code and a line for the user is an exception."""
    from click.testing import CliRunner

    from taskfmm.cli import main

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, image in content.items():
            Path(name).write_bytes(image)
        Path("folder").mkdir()
        Path("loop.h5").symlink_to("loop.h5")
        os.mkfifo("pipe.h5")
        Path("text.h5").write_text("sources")
        result = CliRunner().invoke(main, arguments)
        os.chdir("/")
    text = result.stderr
    wrong = result.exit_code not in (0, 1, 2) or "shows where" in text
    wrong |= result.exit_code == 1 and "--debug" not in arguments and text.count("\n") != 1
    if wrong or "Traceback" in text:
        raise AssertionError(f"{arguments}: {result.exit_code}: {text}: {result.exception!r}")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        from taskfmm.errors import TaskfmmError

        assert isinstance(result.exception, TaskfmmError), f"{arguments}: {result.exception!r}"
    return FINE if result.exit_code == 0 else REFUSED


def plan(rng: random.Random) -> Iterator[Case]:
    """Saved plans: bytes, and contents behind checksums that are right."""
    import forgeries

    import taskfmm

    def run(path: Path, expected: list[np.ndarray]) -> int:
        try:
            fmm = taskfmm.Fmm.load(path)
        except taskfmm.TaskfmmError:
            return REFUSED
        found = forgeries.results(fmm)
        assert all(np.isfinite(values).all() for values in found)
        same = len(found) == len(expected) and all(map(np.array_equal, found, expected))
        return FINE if same else OTHER

    valid = forgeries.files()
    while True:
        content, expected = rng.choice(valid)
        spoil = mutated if rng.random() < 0.2 else forgeries.forged
        yield spoil(content, rng), lambda path, expected=expected: run(path, expected)


TARGETS = {"hdf5": hdf5, "yaml": yaml, "cli": cli, "plan": plan}


def outcome(case: Case, path: Path, log: Path) -> str:
    """Run one case in a child; says how it ended."""
    path.write_bytes(case[0])
    sys.stdout.flush()
    child = os.fork()
    if not child:
        code = FAILED
        try:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_CPU, (HANG, HANG))
            signal.alarm(6 * HANG)
            code = case[1](path)
        except BaseException:
            log.write_text(traceback.format_exc())
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return HARMLESS.get(os.WEXITSTATUS(status), "failed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=list(TARGETS))
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "taskfmm-fuzz")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    options.keep.mkdir(parents=True, exist_ok=True)
    cases = TARGETS[options.what](random.Random(seed))
    counts: collections.Counter[str] = collections.Counter()
    end = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            case = next(cases)
            log = Path(folder) / "log.txt"
            log.unlink(missing_ok=True)
            how = outcome(case, Path(folder) / "case.yaml", log)
            counts[how] += 1
            if how not in HARMLESS.values():
                kept = options.keep / f"{options.what}-{seed}-{sum(counts.values())}"
                kept.write_bytes(case[0])
                print(f"{how}: {kept}", flush=True)
                if log.exists():
                    kept.with_suffix(".log").write_text(log.read_text())
    print(f"{options.what}, seed {seed}: {dict(counts)}")
    sys.exit(bool(set(counts) - set(HARMLESS.values())))


if __name__ == "__main__":
    main()
