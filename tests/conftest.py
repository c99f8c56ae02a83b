"""Shapes and types of every phr function are checked while the tests run; one thread, as the defaults promise."""

from __future__ import annotations

import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# Never uninstalled: modules are checked as they are imported, and nothing of phr has been yet.
install_import_hook(["phr", "phr_studies"], "beartype.beartype")

torch.set_num_threads(1)

# Slow machines must not fail a property; a failure must come again.
settings.register_profile("phr", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("phr")
