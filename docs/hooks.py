"""What MkDocs asks while it builds the site.

Its files have the paths that they have in the repository. So a link works alike on the site and in the files, and no
file has to be copied for the site. Formulas become MathML, which browsers draw without a library.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]

SHOWN = (
    "README.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "benchmarks/*.md",
    "benchmarks/*.png",
    "docs/**/*.md",
    "docs/*.css",
    "docs/*.svg",
    "docs/*.png",
    "taskfmm/DESIGN.md",
    "taskfmm/gallery/*.png",
    "tests/README.md",
)

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)

NUMBER = re.compile(r"<td>([\d.,]+e-\d+)</td>")


def on_files(files: Files, config: Any) -> Files:
    """The files of the repository in place of those of the folder docs."""
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    for path in sorted(found for pattern in SHOWN for found in ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_content(content: str, **_: Any) -> str:
    """A page with its formulas as MathML, and with names for the cells that must not be broken at a minus sign."""
    return NUMBER.sub(r'<td class="number">\1</td>', FORMULA.sub(_mathml, content))


def _mathml(found: re.Match[str]) -> str:
    display = "block" if found[2] == "[" else "inline"
    return convert(html.unescape(found[3]), display=display)
