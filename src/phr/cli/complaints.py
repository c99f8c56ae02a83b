"""What tyro says of wrong words, in one line and without Python's terms."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

_KINDS = {
    "{None}|INT": "a whole number",
    "{None}|FLOAT": "a number",
    "{None}|INT|{auto}": "a whole number or auto",
}


def one_line(text: str) -> str:
    """The text with every stretch of white space made one blank."""
    return " ".join(text.split())


def near_miss(wrong: str, known: Collection[str], otherwise: str) -> str:
    """A hint: the nearest of the known words, else what is said otherwise."""
    near = difflib.get_close_matches(wrong, known, n=1)
    return f"did you mean {near[0]}?" if near else otherwise


def complaint(box: str, options: Collection[str]) -> str:
    """One sentence for a person.

    Args:
        box: tyro's framed message.
        options: Every option of the command, with its dashes.
    """
    said = _content(box)
    if found := re.match(r"Unrecognized options: ([^\s,]+)", said):
        wrong = found[1]
        if not wrong.startswith("-"):
            return f"{wrong!r} is one word too many"
        hint = near_miss(wrong, options, "")
        return f"there is no option {wrong}" + (f"; {hint}" if hint else "")
    if said.startswith("Missing from"):
        missing = re.findall(r"(?:(--[a-z-]+) )?\b([A-Z_]{1,7})\b [^()]*\(required\)", said)
        return f"missing: {', '.join(' '.join(filter(None, words)) for words in missing)}" if missing else said
    if found := re.match(r"Missing value for argument '(--[\w-]+)'", said):
        return f"{found[1]} needs a value"
    if found := re.match(r"invalid choice '(.*?)' for argument '(--[\w-]+)'. Expected one of \((.*?)\)", said):
        choices = sorted(set(re.findall(r"'(.*?)'", found[3])) - {"None"})
        choices = [choice for choice in choices if "_" not in choice]  # those of Python's names that stand for others
        hint = near_miss(found[1], choices, "choose one of " + ", ".join(choices))
        return f"{found[2]} cannot be {found[1]!r}; {hint}"
    if found := re.match(r"Error parsing (--[\w-]+): no type matching (\S+) could be instantiated from \['(.*?)'\]", said):
        return f"{found[1]} needs {_KINDS.get(found[2], 'another value')}, got {found[3]!r}"
    if found := re.match(r"Error parsing (--[\w-]+): invalid literal for int\(\) with base 10: (.*)", said):
        return f"{found[1]} needs a whole number, got {found[2]}"
    return said or "the words were not understood"


def _content(box: str) -> str:
    """The complaint itself out of the frame (ASCII where a terminal knows no better), without the advice below it."""
    lines = []
    for line in box.splitlines()[1:]:
        text = line.strip("│| ")
        if not re.fullmatch(r"[─╰╯+-]{3,}", text):
            lines.append(text)
        elif lines:
            break
    return one_line(" ".join(lines)).rstrip(".")
