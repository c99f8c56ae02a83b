"""One tree of errors: everything that phr refuses, it refuses with one of these.

A message says what is wrong, what was found, and how to mend it, in one line. `UsageError` and its children mean that the
request itself cannot be carried out as worded (the command line exits with 2); every other `PhrError` means that carrying
it out failed (exit 1).
"""

from __future__ import annotations


class PhrError(Exception):
    """Root of every error that phr raises on purpose."""


class UsageError(PhrError):
    """The request is wrong as worded: an impossible number, an unknown name, an occupied folder."""


class UnknownEnvironmentError(UsageError):
    """No environment has this id."""


class UnsupportedEnvironmentError(UsageError):
    """The environment exists, but its spaces or its behaviour are outside what phr can act in."""


class UnknownModelError(UsageError):
    """A model or teacher reference leads nowhere."""


class HorizonError(UsageError):
    """A horizon or a commitment is outside its range."""


class SettingError(UsageError):
    """A hyperparameter has a value that makes no sense."""


class OutputDirectoryError(UsageError):
    """The output folder holds something else, or an unfinished run that nobody asked to resume."""


class IncompatibleModelError(UsageError):
    """A model or checkpoint was made for other spaces, another environment or another horizon."""


class MissingExtraError(UsageError):
    """An optional dependency is not installed; the message carries the pip line."""


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
    """A NaN or an infinity appeared in an observation, a loss or a gradient."""


class CorruptFileError(PhrError):
    """A file is truncated, edited or not what its manifest says."""


class BoundError(PhrError):
    """The least time that acting can take could not be measured: the replay of a run failed, or did not repeat it."""


class UnsolvableError(PhrError):
    """The oracle found no way to the goal, or cannot read this observation."""


class ExportMismatchError(PhrError):
    """An exported model does not answer as the network it was made from."""


__all__ = [name for name, value in dict(globals()).items() if isinstance(value, type) and issubclass(value, PhrError)]
