"""What mkdocstrings asks while it reads docstrings.

A short docstring lists fields as lines ``name : meaning`` and has its example without a heading. Markdown would run
such lines together, so they become a list and a section here.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

SECTION = re.compile(r"^[^\n]+\n-{3,}$", re.MULTILINE)

FIELD = re.compile(r"^(\w+(?:, \w+)*) : ", re.MULTILINE)


class Short(Extension):
    """The docstrings of all objects, before they are parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = with_sections(obj.docstring.value)


def with_sections(text: str) -> str:
    """A docstring whose fields are a list, and whose example has a heading; its sections stay as they are."""
    found = SECTION.search(text)
    head, tail = (text[: found.start()], text[found.start() :]) if found else (text, "")
    head = re.sub(r"\n+(?=- \*\*)", "\n\n", FIELD.sub(r"- **\1**: ", head), count=1)
    head = re.sub(r"\n*^>>>", "\n\nExamples\n--------\n>>>", head, count=1, flags=re.MULTILINE)
    return head + tail
