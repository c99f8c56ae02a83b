"""From the colour numbers of the emulator's screen to greys.

Copying a screen as colour numbers takes a microsecond, having the emulator turn it grey takes thirteen. So screens are
copied, and turned grey when somebody looks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Sixteen hues of eight luminances; measured off the emulator by benchmarks/atari_palette.py.
_NTSC = (
    0, 74, 111, 142, 170, 192, 214, 236, 64, 95, 122, 148, 172, 193, 214, 233,
    63, 87, 110, 131, 150, 167, 184, 199, 59, 85, 107, 129, 148, 167, 183, 199,
    44, 68, 90, 110, 128, 146, 161, 176, 51, 74, 95, 115, 132, 149, 164, 178,
    39, 63, 85, 107, 125, 143, 159, 174, 22, 49, 73, 96, 116, 136, 153, 169,
    17, 41, 64, 85, 104, 121, 137, 153, 32, 60, 85, 109, 130, 150, 168, 186,
    40, 69, 95, 120, 141, 162, 182, 200, 43, 74, 101, 127, 151, 173, 193, 212,
    40, 71, 98, 124, 147, 169, 189, 207, 41, 74, 104, 132, 157, 181, 203, 223,
    47, 79, 107, 133, 157, 179, 200, 220, 47, 79, 107, 133, 157, 179, 200, 220,
)  # fmt: skip

_PAL_HEIGHT = 250
"""Lines of a PAL screen; those games have other colours."""


def grey_table(ale: Any) -> NDArray[np.uint8] | None:
    """The grey of every colour number, shape `(256,)`; None for a PAL game, whose palette was not measured whole.

    Args:
        ale: The emulator, with its game loaded.
    """
    if ale.getScreenDims()[0] == _PAL_HEIGHT:
        return None
    return np.repeat(np.array(_NTSC, np.uint8), 2)  # NTSC colours are even numbers
