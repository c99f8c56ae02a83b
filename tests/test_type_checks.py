"""The tests check types and shapes while they run (see conftest.py); here is the proof."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError

from phr.seeding import Streams


@pytest.mark.skipif(os.environ.get("PHR_CHECKS_TYPES") == "0", reason="types are checked in a run of their own")
def test_a_wrong_type_does_not_pass() -> None:
    name: Any = 3
    with pytest.raises(TypeCheckError, match="Expected type: <class 'str'>"):
        Streams(0).rng(name)


def test_one_thread() -> None:
    assert torch.get_num_threads() == 1
