from __future__ import annotations

import base64
import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import pytest

from phr.errors import InvalidDataError
from phr_studies.report.figure5 import figure5
from phr_studies.report.page import PageFigure, ReportContent, Section, inline, render_page, write_page
from phr_studies.report.tables import Column, Table
from phr_studies.reproduce.content import results_table
from tests.phr_studies.report.samples import CROSSING, fake_points, paper_path

VOID = {"meta", "img", "source", "link", "br"}


class Outline(HTMLParser):
    """Checks that tags nest, and collects what the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.add(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def content(tmp_path: Path) -> ReportContent:
    picture = figure5(paper_path(), tmp_path / "path.png")
    return ReportContent(
        title="Look <once> & act",
        summary="All `commitments` keep the return.",
        command="phr reproduce --out 'runs & more'",
        machine={"CPU": "<fast>", "threads": "1"},
        highlights=[("2.9×", "faster at n = 4")],
        sections=[
            Section(
                heading="Speed",
                paragraphs=["One <b>paragraph</b>."],
                figures=[PageFigure(picture, "A `path`.", wide=True), PageFigure(picture, "")],
                tables=[results_table(CROSSING, fake_points())],
            ),
            Section(heading="Speed", paragraphs=["$summary ${title}"]),
        ],
    )


def outline(html: str) -> Outline:
    found = Outline()
    found.feed(html)
    assert found.open == []
    return found


def test_everything_is_said_and_nothing_is_markup(content: ReportContent) -> None:
    html = render_page(content)
    found = outline(html)
    for text in ("Look <once> & act", "<fast>", "One <b>paragraph</b>.", "phr reproduce --out 'runs & more'"):
        assert text in found.text
    assert "$summary ${title}" in found.text
    assert "<b>" not in html
    assert "<code>commitments</code>" in html
    for row in results_table(CROSSING, fake_points()).rows:
        assert all(cell in found.text for cell in row)


def test_the_page_stands_alone(content: ReportContent) -> None:
    html = render_page(content)
    found = outline(html)
    assert "<script" not in html
    assert not re.search(r"https?://|@import|url\(", html)
    for address in found.addresses:
        assert address.startswith(("data:image/png;base64,", "#"))
        if address.startswith("#"):
            assert address[1:] in found.ids
    assert len(found.ids) == 3, "two sections of one name and the last one need ids of their own"


def test_pictures_are_embedded_with_their_dark_twins_and_their_size(content: ReportContent, tmp_path: Path) -> None:
    found = outline(render_page(content))
    embedded = {base64.b64decode(address.partition(",")[2]) for address in found.addresses if "base64" in address}
    assert embedded == {(tmp_path / name).read_bytes() for name in ("path.png", "path-dark.png")}
    assert 'width="455" height="' in render_page(content)
    (tmp_path / "path-dark.png").unlink()
    assert "<source" not in render_page(content)


def test_a_film_is_embedded_as_it_is(tmp_path: Path) -> None:
    film = tmp_path / "film.gif"
    film.write_bytes(b"GIF89a" + struct.pack("<HH", 336, 488) + b"and so on")
    section = Section(heading="Films", figures=[PageFigure(film, "n = 4")])
    html = render_page(ReportContent(title="T", summary="S", command="c", sections=[section]))
    assert 'width="336" height="488"' in html
    [address] = [address for address in outline(html).addresses if address.startswith("data:")]
    assert address == "data:image/gif;base64," + base64.b64encode(film.read_bytes()).decode()


def test_equal_content_gives_equal_bytes(content: ReportContent, tmp_path: Path) -> None:
    first = write_page(content, tmp_path / "a.html").read_bytes()
    assert write_page(content, tmp_path / "b.html").read_bytes() == first


def test_a_page_of_nothing_but_words() -> None:
    found = outline(render_page(ReportContent(title="T", summary="S", command="phr")))
    assert found.ids == {"again"}


def test_a_missing_or_broken_picture_is_refused(tmp_path: Path) -> None:
    def page(path: Path) -> str:
        section = Section(heading="H", figures=[PageFigure(path, "")])
        return render_page(ReportContent(title="T", summary="S", command="c", sections=[section]))

    with pytest.raises(InvalidDataError, match="is missing"):
        page(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("not a picture at all, only words")
    with pytest.raises(InvalidDataError, match="not a PNG or a GIF"):
        page(tmp_path / "text.png")


def test_tables_mark_groups_strong_rows_verdicts_and_code() -> None:
    columns = (Column("a"), Column("n", "number"), Column("held?", "verdict"), Column("hash", "code"))
    rows = (("x", "1", "yes", "ff<"), ("y", "2", "n.a.", "–"))
    table = Table("T", columns, rows, "N", grouped=True, strong=frozenset({1}))
    html = render_page(ReportContent(title="T", summary="S", command="c", sections=[Section(heading="H", tables=[table])]))
    assert '<tr class="group strong"><td class="text">y</td>' in html
    assert '<td class="verdict yes">yes</td>' in html
    assert '<td class="verdict">n.a.</td>' in html
    assert "<code>ff&lt;</code>" in html
    assert '<td class="code">–</td>' in html
    assert '<p class="note">N</p>' in html


def test_whatever_a_text_holds_is_escaped(tmp_path: Path) -> None:
    evil = "\"'><script>alert(1)</script>`<script>`{{ 7 * 7 }}{% raw %}"
    picture = figure5(paper_path(), tmp_path / "path.png")
    table = Table(evil, (Column(evil), Column(evil, "code"), Column(evil, "verdict")), ((evil, evil, evil),), evil)
    html = render_page(
        ReportContent(
            title=evil,
            summary=evil,
            command=evil,
            machine={evil: evil},
            highlights=[(evil, evil)],
            sections=[Section(heading=evil, paragraphs=[evil], figures=[PageFigure(picture, evil)], tables=[table])],
        )
    )
    assert "<script" not in html
    found = outline(html)
    assert found.text.count("{{ 7 * 7 }}{% raw %}") == 20


def test_the_name_of_an_environment_is_escaped() -> None:
    table = results_table("<script>Grid</script>-v0", fake_points("<script>Grid</script>-v0"))
    html = render_page(ReportContent(title="T", summary="S", command="c", sections=[Section(heading="H", tables=[table])]))
    assert "<h3>&lt;script&gt;Grid&lt;/script&gt;-v0</h3>" in html
    assert "<script" not in html


def test_inline_code_is_escaped_too() -> None:
    assert inline("a `b<c` & `d") == "a <code>b&lt;c</code> &amp; `d"
