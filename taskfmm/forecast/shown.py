"""Numbers as text, and tables as a notebook shows them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape


def duration(value: float) -> str:
    """Seconds or milliseconds."""
    return f"{value:.2f} s" if value >= 1.0 else f"{1e3 * value:.3g} ms"


def table(title: str, rows: Mapping[str, object]) -> str:
    """HTML of a title, and of names with what belongs to each."""
    cell = "text-align:left;padding:1px 12px 1px 0"
    body = "".join(
        f'<tr><th style="{cell};font-weight:600">{name}</th><td style="{cell}">{escape(str(value))}</td></tr>'
        for name, value in rows.items()
    )
    caption = f'<caption style="text-align:left;font-weight:600;padding-bottom:4px">{title}</caption>'
    return f'<table style="border-collapse:collapse">{caption}{body}</table>'
