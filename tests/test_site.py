"""The site: MkDocs builds it without a warning, it needs no other server, and it documents what users call."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import taskfmm

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the built site; a warning of MkDocs, as of a link that leads nowhere, is an error."""
    for needed in ("mkdocs", "material", "mkdocstrings_handlers.python", "latex2mathml"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return folder


def test_every_page_is_built_once(site):
    pages = {page.relative_to(site).as_posix() for page in site.rglob("*.html")} - {"404.html"}
    assert {"index.html", "taskfmm/DESIGN.html", "benchmarks/index.html", "docs/api/fmm.html"} <= pages
    written = {path.relative_to(ROOT).with_suffix(".html").as_posix() for path in ROOT.glob("docs/**/*.md")}
    assert {page for page in pages if page.startswith("docs/")} == written


def test_nothing_is_fetched(site):
    loaded = r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="?(?:https?:)?//'
    for page in site.rglob("*.html"):
        assert not re.search(loaded, page.read_text()), page
    for sheet in (site / "docs").glob("*.css"):
        assert "url(" not in sheet.read_text() and "@import" not in sheet.read_text()


def test_formulas_are_drawn(site):
    for name in ("laplace", "gravity", "yukawa"):
        page = (site / "docs" / f"{name}.html").read_text()
        assert page.count('display="block"') >= 1 and page.count('display="inline"') >= 1
        assert "arithmatex" not in page and "\\frac" not in page


def test_what_users_call_is_documented():
    named = re.findall(r"^::: (\S+)$", "".join(page.read_text() for page in ROOT.glob("docs/api/*.md")), re.M)
    apart = {
        "kernels",
        "InputError",
        "AccuracyError",
        "TaskfmmError",
        "__version__",
    }  # two have pages of their own
    assert {f"taskfmm.{name}" for name in set(taskfmm.__all__) - apart} <= {*named}
    constructors = {constructor.__name__ for constructor in taskfmm.kernels.CONSTRUCTORS.values()}
    assert constructors <= {name.rpartition(".")[2] for name in named}


def test_short_docstrings_are_lists_and_examples(site):
    page = (site / "docs" / "api" / "interop.html").read_text()
    assert "<li><strong>ncrit</strong>: taken and not used" in page
    assert "<blockquote>" not in page
    pages = [page for page in (site / "docs" / "api").glob("*.html") if "&gt;&gt;&gt;" in page.read_text()]
    assert pages and all("<p>&gt;" not in page.read_text() for page in pages)
