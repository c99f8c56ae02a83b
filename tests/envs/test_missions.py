from __future__ import annotations

import pytest
from gymnasium.spaces import Text
from minigrid.core.mission import MissionSpace

from phr.envs.flatten import mission_codes
from phr.errors import UnsupportedEnvironmentError


def test_every_mission_has_a_code_of_its_own() -> None:
    space = MissionSpace(lambda color, kind: f"get the {color} {kind}", [["red", "blue", "grey"], ["key", "ball"]])
    codes = mission_codes(space, "toy")
    assert codes["get the blue key"].tolist() == [0, 1, 0, 1, 0]
    assert len(codes) == len({code.tobytes() for code in codes.values()}) == 6


def test_a_mission_that_never_changes_has_no_code() -> None:
    assert mission_codes(MissionSpace(lambda: "go"), "toy") == {}


class OwnMissionSpace(MissionSpace):
    """May say anything."""


@pytest.mark.parametrize("space", [OwnMissionSpace(lambda: "go"), Text(9)])
def test_other_spaces_are_refused(space: Text | OwnMissionSpace) -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="toy: its missions follow a grammar"):
        mission_codes(space, "toy")
