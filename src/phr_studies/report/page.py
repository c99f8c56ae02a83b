"""One self-contained HTML page: styles inside, pictures embedded, no script, nothing fetched."""

from __future__ import annotations

import base64
import html
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from string import Template

from phr.errors import InvalidDataError
from phr.files import write_text
from phr_studies.report.names import dark_variant
from phr_studies.report.tables import NOTHING, Column, Table, is_good

_PIXELS_PER_PIXEL = 2
"""Figures are drawn with two pixels for one of the page, films with one."""


@dataclass(frozen=True)
class PageFigure:
    """A picture on the page; its dark twin is found beside it.

    Attributes:
        path: A PNG, or a GIF that moves.
        caption: Stands below.
        wide: Takes the whole width, and on a narrow screen scrolls in its box instead of shrinking.
    """

    path: Path
    caption: str
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page: paragraphs, then figures, then tables.

    Attributes:
        heading: Also stands in the list of contents.
        paragraphs: Texts; words in `backticks` are set as code.
        figures: One below the other if there is one or it is wide, else side by side.
        tables: Scroll sideways inside their box where the screen is narrow.
    """

    heading: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[PageFigure] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """All that a report says, apart from how it looks.

    Attributes:
        title: Of the page.
        summary: One paragraph.
        command: What makes the report again, as typed.
        machine: Name → value: CPU, threads, versions, settings.
        highlights: Value → what it is; the few numbers that matter most.
        sections: In order.
    """

    title: str
    summary: str
    command: str
    machine: Mapping[str, str] = field(default_factory=dict)
    highlights: Sequence[tuple[str, str]] = ()
    sections: Sequence[Section] = ()


def write_page(content: ReportContent, path: Path) -> Path:
    """Write a report as one HTML file.

    Args:
        content: What it says.
        path: Where it goes.

    Returns:
        The path.

    Raises:
        InvalidDataError: If a picture is missing or neither PNG nor GIF.
    """
    write_text(path, render_page(content))
    return path


def render_page(content: ReportContent) -> str:
    """The report as HTML; equal content gives equal text."""
    here = files("phr_studies.report")
    names = [f"{number}-{_slug(section.heading)}" for number, section in enumerate(content.sections, start=1)]
    return Template((here / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(content.title),
        style=(here / "page.css").read_text(encoding="utf-8").strip(),
        summary=inline(content.summary),
        highlights=_highlights(content.highlights),
        contents=_contents(names, content.sections),
        sections="\n".join(_section(name, section) for name, section in zip(names, content.sections, strict=True)),
        command=html.escape(content.command),
        machine=_machine(content.machine),
    )


def inline(text: str) -> str:
    """Escaped text, with words in `backticks` set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _lines(parts: Iterable[str]) -> str:
    return "\n".join(part for part in parts if part)


def _highlights(highlights: Sequence[tuple[str, str]]) -> str:
    if not highlights:
        return ""
    cards = [f"<div><dt>{inline(what)}</dt><dd>{html.escape(value)}</dd></div>" for value, what in highlights]
    return _lines(['<dl class="highlights">', *cards, "</dl>"])


def _contents(names: Sequence[str], sections: Sequence[Section]) -> str:
    links = [(name, section.heading) for name, section in zip(names, sections, strict=True)]
    items = [f'<li><a href="#{name}">{html.escape(heading)}</a></li>' for name, heading in links]
    again = '<li><a href="#again">Make it again</a></li>'
    return _lines(['<nav aria-label="Contents"><ul>', *items, again, "</ul></nav>"]) if items else ""


def _machine(machine: Mapping[str, str]) -> str:
    if not machine:
        return ""
    rows = [f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in machine.items()]
    return _lines(["<h3>Machine and settings</h3>", '<dl class="machine">', *rows, "</dl>"])


def _section(name: str, section: Section) -> str:
    many = len(section.figures) > 1
    opening = f'<div class="figures{" many" if many else ""}">'
    figures = [opening, *(_figure(figure) for figure in section.figures), "</div>"] if section.figures else []
    return _lines(
        [
            f'<section id="{name}">',
            f"<h2>{html.escape(section.heading)}</h2>",
            *(f"<p>{inline(paragraph)}</p>" for paragraph in section.paragraphs),
            *figures,
            *(table_html(table) for table in section.tables),
            "</section>",
        ]
    )


def _figure(figure: PageFigure) -> str:
    data, width, height = _read_picture(figure.path)
    caption = inline(figure.caption)
    alt = html.escape(figure.caption.replace("`", ""))
    image = f'<img src="{data}" width="{width}" height="{height}" alt="{alt}">'
    dark = dark_variant(figure.path)
    source = ""
    if dark.is_file():
        # No script decides: the browser does, and a printer gets the light one.
        source = f'<source srcset="{_read_picture(dark)[0]}" media="screen and (prefers-color-scheme: dark)">'
    wide = " wide" if figure.wide else ""
    return _lines(
        [
            f'<figure class="{wide.strip()}">' if wide else "<figure>",
            f'<div class="frame{wide}"><picture>{source}{image}</picture></div>',
            f"<figcaption>{caption}</figcaption>" if caption else "",
            "</figure>",
        ]
    )


def _read_picture(path: Path) -> tuple[str, int, int]:
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
    return url, width // pixels, height // pixels


def table_html(table: Table) -> str:
    """The table as HTML, in a box of its own that scrolls sideways."""
    heads = [f'<th scope="col" class="{column.kind}">{html.escape(column.heading)}</th>' for column in table.columns]
    rows = []
    for index, row in enumerate(table.rows):
        marks = [name for name, on in (("group", table.begins_group(index)), ("strong", index in table.strong)) if on]
        cells = "".join(_cell(text, column) for text, column in zip(row, table.columns, strict=True))
        rows.append(f'<tr class="{" ".join(marks)}">{cells}</tr>' if marks else f"<tr>{cells}</tr>")
    return _lines(
        [
            f"<h3>{html.escape(table.title)}</h3>" if table.title else "",
            f'<div class="scroll" tabindex="0"><table class="{"grouped" if table.grouped else "plain"}">',
            f"<thead><tr>{''.join(heads)}</tr></thead>",
            "<tbody>",
            *rows,
            "</tbody></table></div>",
            f'<p class="note">{inline(table.note)}</p>' if table.note else "",
        ]
    )


def _cell(text: str, column: Column) -> str:
    shown = html.escape(text)
    if column.kind == "code" and text not in ("", NOTHING):
        shown = f"<code>{shown}</code>"
    verdict = {True: " yes", False: " no", None: ""}[is_good(text) if column.kind == "verdict" else None]
    return f'<td class="{column.kind}{verdict}">{shown}</td>'
