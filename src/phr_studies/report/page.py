"""One self-contained HTML page: styles inside, pictures embedded, no script, nothing fetched.

`templates/page.html` is the page; Jinja2 escapes whatever a text holds.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from phr.errors import InvalidDataError, MissingExtraError
from phr.files import write_text
from phr_studies.report.tables import NOTHING, Table, dark_variant, is_good

try:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape
except ModuleNotFoundError as error:
    raise MissingExtraError(f"pages need {error.name}; pip install 'phr[train]'") from error

_PIXELS_PER_PIXEL = 2
"""Figures are drawn with two pixels for one of the page, films with one."""


@dataclass(frozen=True)
class PageFigure:
    """A picture on the page, a PNG or a GIF; its dark twin is found beside it."""

    path: Path
    caption: str
    wide: bool = False
    """Takes the whole width, and on a narrow screen scrolls in its box instead of shrinking."""

    @property
    def dark(self) -> Path | None:
        """The picture for dark pages, None where there is none."""
        twin = dark_variant(self.path)
        return twin if twin.is_file() else None


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page: paragraphs, then figures, then tables."""

    heading: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[PageFigure] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """The contents of a report; the template decides how they look."""

    title: str
    summary: str
    command: str
    """What makes the report again, as typed."""
    machine: Mapping[str, str] = field(default_factory=dict)
    """CPU, threads, versions, settings."""
    highlights: Sequence[tuple[str, str]] = ()
    """A value and what it is: the few numbers that matter most."""
    sections: Sequence[Section] = ()


def write_page(content: ReportContent, path: Path) -> Path:
    """Write a report as one HTML file, and return its path."""
    write_text(path, render_page(content))
    return path


def render_page(content: ReportContent) -> str:
    """The report as HTML; equal content gives equal text."""
    return _templates().get_template("page.html").render(page=content).lstrip()


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("phr_studies.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {"code": inline, "slug": _slug, "picture": _read_picture, "is_good": is_good}
    found.globals["nothing"] = NOTHING
    return found


def inline(text: str) -> Markup:
    """Escaped text, with words in `backticks` set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _read_picture(path: Path) -> dict[str, str | int]:
    """A picture as a data URL, and its size on the page."""
    if not path.is_file():
        raise InvalidDataError(f"the picture {path} is missing; draw it before the page")
    data = path.read_bytes()
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        kind, (width, height), pixels = "png", struct.unpack(">II", data[16:24]), _PIXELS_PER_PIXEL
    elif data[:6] == b"GIF89a" and len(data) >= 10:
        kind, (width, height), pixels = "gif", struct.unpack("<HH", data[6:10]), 1
    else:
        raise InvalidDataError(f"the picture {path} is not a PNG or a GIF")
    url = f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii")
    return {"url": url, "width": width // pixels, "height": height // pixels}
