"""Help texts, messages, docstrings and prose avoid words that make an engineer read a sentence twice."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from phr.cli import main

ROOT = Path(__file__).parents[1]

PLAINER = {
    r"tell|tells|telling|told": "shows, prints, records, reports",
    r"say|says|saying|said": "states, prints, reports, contains",
    r"brings|brought": "contains, installs, restores",
    r"bears?|bearing|borne": "tolerates, contains",
    r"answers|answered|answering": "returns, outputs, selects",
    r"(?:goes|go|went|going) by": "uses, follows",
    r"(?:takes?|taken|took|taking) up(?! to\b)": "resumes, continues",
    r"hears?|heard|hearsay": "receives; name the source",
    r"(?:stands?|stood|standing) for": "means, names, resolves to",
    r"(?:comes?|came|coming) to": "ends, equals, reaches",
    r"looks? away|look(?:ed|ing) away": "acts without a new observation",
    r"who(?:so)?ever|whomever": "name the subject",
    r"somebody|nobody|someone else": "name the subject, or use the passive",
    r"(?:of|that|by|from) others": "third-party, other",
    r"mends?|mended|mending": "fix, correct",
    r"anew": "again; re-train, re-seed, redraw",
    r"dice": "random generator, re-seeded",
    r"twins? a difference": "if no re-seeded replay diverges",
    r"(?:is|are|was) none of": "must be one of",
    r"(?<!there )(?:is|are) no(?! (?:longer|more|less|fewer|larger|better|worse)\b)(?= \w)": "is not a, must be",
    r"one word too many": "unexpected argument",
    r"of (?:its|their) kind": "name the expected type",
    r"(?:is|are) believed": "is trusted",
    r"for want of": "without",
    r"spells? (?:\w+ )?out": "contains, records",
    r"(?:the|by the) (?:paper's )?letter(?! of\b)": "literally",
    r"where it has to|has to be told": "must",
    r"thrown? (?:anew|again)": "re-seeded",
    r"finds? back": "recovers",
    r"took off|takes? \w+ out again": "corrects for",
    r"does (?:not|n't) go with": "is incompatible with",
    r"asked for are": "the target is",
    r"as (?:it|they) always (?:was|were)": "unchanged",
}
"""Patterns (whole words, any case) and what a plain sentence has in their place."""

BAD = [(re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), advice) for pattern, advice in PLAINER.items()]
SENTENCE = 3
"""Words that make a string of the code a message rather than a name."""


class Text(NamedTuple):
    """A text that users read."""

    place: str
    """File and line, or the command."""
    text: str


def hits(texts: Iterable[Text]) -> list[str]:
    """Return one line per bad word: place, word, what to write instead, context."""
    found = []
    for place, text in texts:
        plain = " ".join(text.split())
        for pattern, advice in BAD:
            for match in pattern.finditer(plain):
                context = plain[max(0, match.start() - 40) : match.end() + 40]
                found.append(f"{place}: {match[0]!r} (plainer: {advice}): …{context}…")
    return found


def help_text(*words: str) -> str:
    """Return what `phr *words --help` prints, without the frame around it."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        main([*words, "--help"])
    return re.sub(r"[─-╿]", " ", printed.getvalue())


def commands() -> list[str]:
    """Return the commands that the overview lists."""
    listed = help_text().partition("commands:")[2].partition("options:")[0]
    return re.findall(r"^  (\S+)", listed, re.MULTILINE)


def packages() -> list[Path]:
    """Return what is checked on its own: every package under `src/*/`, and every module beside them."""
    return sorted(path for path in ROOT.glob("src/*/*") if path.suffix == ".py" or (path / "__init__.py").exists())


def modules(area: Path) -> Iterator[tuple[str, ast.Module]]:
    """Yield path and syntax tree of every module of an area."""
    for file in [area] if area.suffix == ".py" else sorted(area.rglob("*.py")):
        yield str(file.relative_to(ROOT)), ast.parse(file.read_text(encoding="utf-8"))


def strings(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of every string below a node but docstrings; an f-string is one text, `{}` for each value."""
    if isinstance(node, ast.JoinedStr):
        yield node.lineno, "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from strings(part.value)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.lineno, node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "lazy_names":
        return  # a room's public names, separated by blanks
    elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        for child in ast.iter_child_nodes(node):
            yield from strings(child)


def messages(area: Path) -> Iterator[Text]:
    """Yield the strings that are sentences: errors, printed lines, texts of pages, wherever they are made."""
    for path, tree in modules(area):
        yield from (Text(f"{path}:{line}", text) for line, text in strings(tree) if len(text.split()) >= SENTENCE)


def first_lines(area: Path) -> Iterator[Text]:
    """Yield the first paragraph of every public docstring, and the docstrings of fields of public classes."""
    for path, tree in modules(area):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            name = getattr(node, "name", "")
            if name.startswith("_") and not name.endswith("__"):
                continue
            if docstring := ast.get_docstring(node):
                yield Text(f"{path}:{getattr(node, 'lineno', 1)}", docstring.partition("\n\n")[0])
            if isinstance(node, ast.ClassDef):  # attributes: what options and settings mean
                for below in node.body:
                    if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and below is not node.body[0]:
                        yield Text(f"{path}:{below.lineno}", str(below.value.value))


def prose(file: Path) -> Iterator[Text]:
    """Yield the paragraphs and table rows of a Markdown file, without code and addresses."""
    text = re.sub(r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), file.read_text("utf-8"), flags=re.M | re.S)
    text = re.sub(r"`[^`]*`", lambda code: "`" + "\n" * code[0].count("\n") + "`", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    line = 1
    for paragraph in re.split(r"(\n\s*\n)", text):
        if paragraph.strip():
            yield Text(f"{file.relative_to(ROOT)}:{line}", paragraph)
        line += paragraph.count("\n")


PROSE = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("zoo/*/README.md")])
SCRIPTS = (ROOT / "benchmarks", ROOT / "examples")


def named(path: Path) -> str:
    """Return a path from the root, as the name of a test."""
    return str(path.relative_to(ROOT))


def check(texts: Iterable[Text]) -> None:
    """Fail with every hit on a line of its own."""
    found = hits(texts)
    assert not found, f"{len(found)} texts to rewrite:\n" + "\n".join(found)


@pytest.mark.parametrize("command", ["", *commands()])
def test_help_texts(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    text = help_text(*command.split())
    assert len(text) > 200
    check([Text(f"phr {command} --help", line) for line in text.splitlines()])


@pytest.mark.parametrize("area", packages(), ids=named)
def test_messages(area: Path) -> None:
    check(messages(area))


@pytest.mark.parametrize("area", packages(), ids=named)
def test_docstrings(area: Path) -> None:
    check(first_lines(area))


@pytest.mark.parametrize("area", SCRIPTS, ids=named)
def test_scripts(area: Path) -> None:
    check([*messages(area), *first_lines(area)])


@pytest.mark.parametrize("file", PROSE, ids=named)
def test_prose(file: Path) -> None:
    check(prose(file))


@pytest.mark.parametrize(
    "before",
    [
        "Install tells of smaller ones.",
        "how long one may look away there",
        "the run's config.json tells them",
        "Needed for policies of others, and if it is code.",
        "a file that does not tell it",
        "one word too many",
        "the network answered with a NaN or an infinity",
        "teacher_logits are not numbers of its kind",
        "as it always was before it could be said",
        "what smoothed labels took off it put back",
        "What bears a text `identity` is believed",
        "In no twin a difference?",
        "Mends the table",
        "whoever's plan has run out",
        "the model that a reference stands for",
        "ALE/Pong-v5 is no MiniGrid id",
        "'d' is none of a, b and c",
    ],
)
def test_a_riddle_is_found(before: str) -> None:
    assert hits([Text("here", before)])


@pytest.mark.parametrize(
    "after",
    [
        "See Install for smaller installations.",
        "how many steps the agent can act without a new observation",
        "Unset options use tuned defaults, recorded in `config.json`.",
        "unexpected argument 'x'",
        "network output contains NaN or Inf",
        "there is no file x.npz",
        "a look takes up to 50 µs; the agent looks again after n steps",
        "Bring your own policy",
        "the bound is no longer measured",
    ],
)
def test_plain_sentences_pass(after: str) -> None:
    assert not hits([Text("here", after)])


def test_messages_and_docstrings_are_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    file = tmp_path / "module.py"
    file.write_text('''"""Module line.\n\nMore."""
def public(x):
    """First\n    line.\n\n    Second."""
    if x:
        raise ValueError(f"x must be 0, got {x!r} " f"{'yes, it is' if x else 'no'}") from None
    return {"a_name": "text of a page"}
class Settings:
    """What."""
    seed: int = 0
    """Seed of all."""
def _private():
    """Hidden."""
''')
    assert [text for _, text in messages(file)] == ["x must be 0, got {} {}", "yes, it is", "text of a page"]
    assert [(place, " ".join(text.split())) for place, text in first_lines(file)] == [
        ("module.py:1", "Module line."),
        ("module.py:4", "First line."),
        ("module.py:12", "What."),
        ("module.py:15", "Seed of all."),
    ]
