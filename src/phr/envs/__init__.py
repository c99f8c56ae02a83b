"""Making, advancing and observing environments."""

FOUR_ROOMS_ID = "PHR/FourRooms-v0"
"""The id under which `import phr` registers `phr.envs.four_rooms`; it stands here because that import must stay light."""
