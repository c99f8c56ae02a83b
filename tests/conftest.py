"""Shapes and types of every phr function are checked while the tests run, except where PHR_CHECKS_TYPES is 0; one thread."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import wraps
from importlib import import_module
from typing import Any

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook
from matplotlib.figure import Figure

# Never uninstalled: modules are checked as they are imported, and nothing of phr has been yet. Under coverage the checks
# double the time, so `make test` measures coverage without them, and checks types in a run of their own.
if os.environ.get("PHR_CHECKS_TYPES") != "0":
    install_import_hook(["phr", "phr_studies"], "beartype.beartype")

torch.set_num_threads(1)

# Tests send signals to themselves and to their children, which inherit what a shell's background, or nohup, ignores.
if threading.current_thread() is threading.main_thread():
    for _signal, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(_signal) is signal.SIG_IGN:
            signal.signal(_signal, _usual)

# Slow machines must not fail a property; a failure must come again.
settings.register_profile("phr", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("phr")


def untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function without coverage's tracer, which doubles the time of Python code even where nothing is measured."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return function(*args, **kwargs)
        finally:
            sys.settrace(tracer)

    return call


@pytest.fixture(scope="session", autouse=True)
def _trace_no_long_work_of_others() -> Iterator[None]:
    for name in ("torch._dynamo", "onnxscript", "onnxruntime.quantization") if sys.gettrace() else ():
        untraced(import_module)(name)
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((torch.onnx, "export"), (Figure, "savefig")):
            patch.setattr(owner, name, untraced(getattr(owner, name)))
        yield
