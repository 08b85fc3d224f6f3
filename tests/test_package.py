"""What is published: the files of wheel and sdist, what they say of themselves, and that both can be installed.

The quick form builds both with the tools of this environment. The nightly one does what a release does, in fresh
environments of every Python that is named and found on the PATH as python3.11 and so on.
"""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest
import yaml

import taskfmm

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("taskfmm", "scheduler_configs", "docs", "benchmarks", "tests")
PYTHONS = ("3.11", "3.12", "3.13")
BEGINNING = f"taskfmm-{taskfmm.__version__}"

NOT_FOR_USERS = {"all", "bench", "docs", "test"}
"""Extras that `all` is not made of."""

MOST_OF_WHEEL, MOST_OF_SDIST = 1_500_000, 4_000_000
"""Bytes: twice and more of what they have, so a picture or a data set that slips in is noticed."""

USED = """
import sys, importlib.util, taskfmm
assert "site-packages" in taskfmm.__file__, taskfmm.__file__
assert importlib.util.find_spec("matplotlib") is None, "extras are not installed"
{example}
assert fmm.error_estimate(charges, values) < 1e-6
for name in ("threads", "hybrid"):
    with taskfmm.use(name):
        fmm.potential(charges).compute()
"""
"""With the first example of README.md: what a user does first, where nothing but the wheel was asked for."""

RUN_FROM_SDIST = (
    "test_morton.py",
    "test_validate.py",
    "test_plan_file.py",
    "test_docs.py::test_links_lead_somewhere",
)
"""Tests of files, numerics, forgeries and documentation: what they read has to be in the sdist."""


def run(*command: object, cwd: Path) -> str:
    """What a command prints; it sees no other taskfmm than the one that is installed."""
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the wheel and the sdist."""
    for needed in ("hatchling", "hatch_fancy_pypi_readme"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("built")
    for kind in ("wheel", "sdist"):
        build(kind, ROOT, folder)
    return folder


def build(kind: str, root: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def the_wheel(folder: Path) -> Path:
    return folder / f"{BEGINNING}-py3-none-any.whl"


def the_sdist(folder: Path) -> Path:
    return folder / f"{BEGINNING}.tar.gz"


def metadata(folder: Path) -> Message:
    with zipfile.ZipFile(the_wheel(folder)) as wheel:
        return email.message_from_bytes(wheel.read(f"{BEGINNING}.dist-info/METADATA"))


def of_project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_said_alike():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == taskfmm.__version__
    assert citation["license"] == of_project()["license"]
    newest = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    released = f"{taskfmm.__version__} - {citation.get('date-released')}"
    assert newest in ("Unreleased", released)


def test_extras_are_all_documented():
    extras = of_project()["optional-dependencies"]
    table = (ROOT / "README.md").read_text().partition("## Requirements and extras")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(extras)
    assert set(re.findall(r"\w+", extras["all"][0])) - {"taskfmm"} == set(extras) - NOT_FOR_USERS


def test_the_wheel_has_what_is_used_and_nothing_else(built):
    with zipfile.ZipFile(the_wheel(built)) as wheel:
        files = {name for name in wheel.namelist() if ".dist-info/" not in name}
        others = {name.partition("/")[2] for name in wheel.namelist()} - {
            name.partition("/")[2] for name in files
        }
        entry = wheel.read(f"{BEGINNING}.dist-info/entry_points.txt").decode()
    kinds = (".py", ".yaml", ".csv", "py.typed")
    package = [path for path in (ROOT / "taskfmm").rglob("*") if path.name.endswith(kinds)]
    wanted = {path.relative_to(ROOT).as_posix() for path in package}
    wanted |= {
        f"taskfmm/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "scheduler_configs").iterdir()
    }
    assert files == wanted and "taskfmm/py.typed" in files
    assert others == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    assert "taskfmm = taskfmm.cli:main" in entry
    assert the_wheel(built).stat().st_size < MOST_OF_WHEEL


def test_the_sdist_has_what_tests_and_pages_need(built):
    with tarfile.open(the_sdist(built)) as sdist:
        files = {name.partition("/")[2] for name in sdist.getnames()}
    kept = [
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    top = {"README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "mkdocs.yml", "pyproject.toml"}
    assert top | set(kept) <= files
    assert {name.partition("/")[0] for name in files} == top | set(FOLDERS) | {"PKG-INFO", ".gitignore"}
    assert the_sdist(built).stat().st_size < MOST_OF_SDIST


def test_the_sdist_builds_the_same_wheel(built, tmp_path):
    unpacked(built, tmp_path)
    build("wheel", tmp_path / BEGINNING, tmp_path)
    assert the_wheel(tmp_path).read_bytes() == the_wheel(built).read_bytes()


def unpacked(folder: Path, where: Path) -> None:
    with tarfile.open(the_sdist(folder)) as sdist:
        sdist.extractall(where, filter="data")


def test_what_is_said_of_the_package(built):
    found = metadata(built)
    assert found["Name"] == "taskfmm" and found["Version"] == taskfmm.__version__
    assert found["Requires-Python"] == ">=3.11" and found["License-Expression"] == "BSD-3-Clause"
    said = {each.rpartition(" ")[2] for each in found.get_all("Classifier") if ":: Python :: 3." in each}
    assert said == set(PYTHONS)
    assert set(found.get_all("Provides-Extra")) == set(of_project()["optional-dependencies"])


def test_the_page_on_pypi_needs_no_file_beside_it(built):
    """It is README.md but for pictures, links to files, and commands for a clone."""
    found = metadata(built)
    assert found["Description-Content-Type"] == "text/markdown"
    page = found.get_payload(decode=False)
    assert "pip install taskfmm" in page and "pip install ." not in page and 'pip install ".' not in page
    links = re.findall(r"\]\(([^)\s]*)\)", re.sub(r"^```.*?^```", "", page, flags=re.M | re.S))
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert "<img" not in page and "clone of this repository" not in page
    headings = re.findall(r"^## .+$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert re.findall(r"^## .+$", page, re.MULTILINE) == headings


def fresh(python: str, where: Path, *packages: object) -> Path:
    """The bin of a new virtual environment with some packages."""
    run(python, "-m", "venv", where, cwd=where.parent)
    run(where / "bin" / "pip", "install", "--quiet", *packages, cwd=where.parent)
    return where / "bin"


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> Path:
    """A folder with what a release uploads, made and checked by the commands of docs/release.md."""
    where = tmp_path_factory.mktemp("released")
    tools = fresh(sys.executable, where / "tools", "build", "twine")
    run(tools / "python", "-m", "build", "--outdir", where / "dist", ROOT, cwd=where)
    files = sorted((where / "dist").iterdir())
    assert files == [the_wheel(where / "dist"), the_sdist(where / "dist")]
    run(tools / "twine", "check", "--strict", *files, cwd=where)
    return where / "dist"


@pytest.mark.nightly
@pytest.mark.parametrize("version", PYTHONS)
def test_fresh_environments(version, released, tmp_path):
    """The wheel alone does what README.md begins with; the tests of the sdist run."""
    python = shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"there is no python{version} on the PATH")
    there = fresh(python, tmp_path / "fresh", the_wheel(released))
    run(there / "pip", "check", cwd=tmp_path)
    assert run(there / "taskfmm", "--version", cwd=tmp_path) == f"taskfmm, version {taskfmm.__version__}\n"
    example = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)[1]
    run(there / "python", "-W", "error", "-c", USED.format(example=example), cwd=tmp_path)

    unpacked(released, tmp_path)
    root = tmp_path / BEGINNING
    run(there / "pip", "uninstall", "--quiet", "--yes", "taskfmm", cwd=tmp_path)
    run(
        there / "pip",
        "install",
        "--quiet",
        the_sdist(released),
        "pytest",
        "pytest-xdist",
        "hypothesis",
        cwd=root,
    )
    files = [f"tests/{name}" for name in RUN_FROM_SDIST]
    done = run(there / "python", "-m", "pytest", "-n", "0", "-q", *files, cwd=root)
    assert re.search(r"\b[1-9]\d* passed", done) and "failed" not in done, done
