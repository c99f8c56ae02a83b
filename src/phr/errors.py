"""The errors that phr raises.

A message states in one line what is wrong, what was found, and how to fix it. `UsageError` and its children mean that the
request itself is wrong (the command line exits with 2); every other `PhrError` means that executing it failed (exit 1).
"""

from __future__ import annotations


class PhrError(Exception):
    """Root of every error that phr raises on purpose. Its text is one line, whatever a library or a file put into it."""

    def __init__(self, text: object = "") -> None:
        super().__init__(printable(" ".join(str(text).splitlines())))


class UsageError(PhrError):
    """The request is wrong as worded: an impossible number, an unknown name, an occupied folder."""


class UnknownEnvironmentError(UsageError):
    """No environment has this id."""


class UnsupportedEnvironmentError(UsageError):
    """The environment exists, but its spaces or its behaviour are outside what phr can act in."""


class UnknownModelError(UsageError):
    """A model or teacher reference does not exist."""


class HorizonError(UsageError):
    """A horizon or a commitment is outside its range."""


class SettingError(UsageError):
    """A setting has a value outside its range or type."""


class OutputDirectoryError(UsageError):
    """The output folder holds something else, or an unfinished run without `resume`."""


class IncompatibleModelError(UsageError):
    """A model or checkpoint was made for other spaces, another environment or another horizon."""


class MissingExtraError(UsageError):
    """An optional dependency is not installed; the message contains the pip command."""


class InvalidDataError(PhrError):
    """Arrays that should describe one thing disagree about it (shapes, lengths, flags)."""


class NoWindowError(InvalidDataError):
    """The strict cut leaves no window: no episode is as long as the horizon."""


class EmptyBatchError(InvalidDataError):
    """A batch has not one valid step; a silent loss of 0 would hide a windowing mistake."""


class BrokenEnvironmentError(PhrError):
    """An environment raised an error, or returned something that its own spaces or Gymnasium's contract do not allow."""


class NoSuccessError(PhrError):
    """No recorded episode passed the success filter, so there is nothing to learn from."""


class NonFiniteError(PhrError):
    """An observation, a loss or a gradient contains NaN or Inf."""


class CorruptFileError(PhrError):
    """A file is truncated, edited or does not match its manifest."""


class BoundError(PhrError):
    """The least time that acting can take could not be measured: the replay of a run failed, or did not repeat it."""


class UnsolvableError(PhrError):
    """The oracle found no way to the goal, or cannot read this observation."""


class ExportMismatchError(PhrError):
    """The outputs of an exported model differ from its network's."""


FOREIGN_ERRORS = (Exception, SystemExit, GeneratorExit)
"""What the user's own code may raise; SystemExit too, as no environment or policy may end a command without a word."""


def error_text(error: BaseException) -> str:
    """Return `Type: message` on one line; the type alone where the message cannot be had."""
    return " ".join(f"{type(error).__name__}: {_text(error, 'its text cannot be read')}".split())


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type where there is none."""
    lines = (line.strip() for line in _text(error, "").splitlines())
    return next(filter(None, lines), type(error).__name__)


def _text(error: BaseException, otherwise: str) -> str:
    try:
        return str(error)
    except Exception:  # a foreign error's own method
        return otherwise


def printable(text: str) -> str:
    """The text with everything escaped that a terminal would obey or hide; ends of lines stay."""
    if text.isprintable():
        return text
    return "".join(letter if letter == "\n" or letter.isprintable() else repr(letter)[1:-1] for letter in text)


__all__ = ["FOREIGN_ERRORS", "error_text", "first_line", "printable"]
__all__ += [name for name, value in dict(globals()).items() if isinstance(value, type) and issubclass(value, PhrError)]
