"""Measure the grey value of every NTSC colour number in the emulator: the table in src/phr/envs/atari.py.

.venv/bin/python benchmarks/atari_palette.py
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from ale_py import ALEInterface, LoggerMode, roms
from ale_py.registration import rom_id_to_name

from phr.envs.atari import grey_table

N_COLOURS = 128


def main() -> None:
    """Play every game at random, record the grey value of each colour, and compare with the table."""
    rng = np.random.default_rng(0)
    greys: dict[int, int] = {}
    for rom in sorted(roms.get_all_rom_ids()):
        if f"ALE/{rom_id_to_name(rom)}-v5" not in gymnasium.registry:  # a two-player game
            continue
        ALEInterface.setLoggerMode(LoggerMode.Error)
        ale = ALEInterface()
        path: Any = roms.get_rom_path(rom)
        ale.loadROM(path)
        table = grey_table(ale)
        if table is None:  # PAL
            continue
        for frame in range(1500):
            ale.act(int(rng.integers(18)))
            if ale.game_over():
                ale.reset_game()
            if frame % 25 == 0:
                screen, grey = ale.getScreen(), ale.getScreenGrayscale()
                if (table[screen] != grey).any():
                    raise SystemExit(f"{rom}: the table is wrong")
                colours, places = np.unique(screen, return_index=True)
                greys.update(zip(colours.tolist(), grey.ravel()[places].tolist(), strict=True))
    print(f"{len(greys)} of {N_COLOURS} colours seen, all as in the table")
    for hue in range(0, 256, 32):
        print(", ".join(str(greys.get(colour, "?")) for colour in range(hue, hue + 32, 2)))


if __name__ == "__main__":
    main()
