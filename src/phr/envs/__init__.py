"""Making, advancing and observing environments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phr.lazy import lazy_names

if TYPE_CHECKING:
    from phr.envs.contract import CheckedEnv as CheckedEnv, watch_calls as watch_calls
    from phr.envs.minigrid_split import PlaneLayout as PlaneLayout, layout_of as layout_of
    from phr.envs.registry import env_id_of_file as env_id_of_file, make_env as make_env, make_gym_env as make_gym_env
    from phr.envs.split import Family as Family, SplitEnv as SplitEnv
    from phr.envs.vector import Start as Start, VectorSplit as VectorSplit

FOUR_ROOMS_ID = "PHR/FourRooms-v0"
"""The id under which `import phr` registers `phr.envs.four_rooms`; here, because that import must stay light."""

CLIFF_IDS = {f"PHR/{world}-v0": world for world in ("Cliff", "Bridge", "ZigZag")}
"""Id → map of `phr.envs.cliffs`, registered in the same way."""

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "contract": "CheckedEnv watch_calls",
        "minigrid_split": "PlaneLayout layout_of",
        "registry": "env_id_of_file make_env make_gym_env",
        "split": "Family SplitEnv",
        "vector": "Start VectorSplit",
    },
)
__all__ += ["CLIFF_IDS", "FOUR_ROOMS_ID"]
