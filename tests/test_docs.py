"""README.md and docs/: their examples run, their commands can be parsed, and their links lead somewhere."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from cases import each

from taskfmm.cli import main

OPTIONAL = ("torch", "jax", "xarray", "MDAnalysis")
"""Libraries that examples import, and that need not be installed."""

ROOT = Path(__file__).resolve().parents[1]
README, INDEX = ROOT / "README.md", ROOT / "docs" / "index.md"
PAGES = [README, *sorted(INDEX.parent.glob("*.md"))]
API = sorted(INDEX.parent.glob("api/*.md"))
OTHERS = [
    ROOT / "taskfmm" / "DESIGN.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "tests" / "README.md",
    *API,
]


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    """What a page links to within the project: pages, headings and pictures."""
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S))
    return [link for link in found if "://" not in link]


def anchors(page: Path) -> set[str]:
    """The names by which the headings of a page are linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem
)
def test_examples_run(page, tmp_path, monkeypatch, configuration_kept, kernels_kept):
    """The blocks of a page run one after the other, as in one script; one that begins with a name is that file."""
    pytest.importorskip("matplotlib").use("agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        if any(find_spec(name) is None for name in OPTIONAL if f"import {name}" in block):
            continue
        if named := re.match(r"# (\w+\.py)\n", block):
            (tmp_path / named[1]).write_text(block)
            continue
        exec(compile(block, str(page), "exec"), names)


def test_the_kernel_of_the_page_is_one_of_those_that_are_tested():
    """To the letter, so that its loops are compiled once."""
    block, *_ = blocks(INDEX.with_name("kernels.md"), "python")
    assert block == (ROOT / "tests" / "kernels_of_users" / "screened.py").read_text()


def test_commands_can_be_parsed():
    lines = [line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("taskfmm ")]
    assert len(commands) >= 8
    for line in commands:
        _, name, *arguments = shlex.split(line, comments=True)
        command = main.get_command(click.Context(main), name)
        assert command is not None, line
        command.make_context(name, arguments)


@each("page", [*PAGES, *OTHERS])
def test_links_lead_somewhere(page):
    for link in links(page):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each("page", [*PAGES, *OTHERS])
def test_scripts_are_there(page):
    for name in re.findall(r"python -m ((?:benchmarks|taskfmm)\b[\w.]*)", page.read_text()):
        module = ROOT / name.rstrip(".").replace(".", "/")
        assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file(), name


@each("contents", [README, INDEX])
def test_every_page_is_linked(contents):
    linked = {(contents.parent / link.partition("#")[0]).resolve() for link in links(contents)}
    assert {page for page in PAGES if page not in (README, INDEX)} <= linked
    assert contents is README or set(API) <= linked
