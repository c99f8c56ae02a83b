"""A loop that owns its clock, 50 times a second; needs phr, numpy and onnxruntime: python examples/own_loop.py FILE.onnx."""

import sys
import time
from pathlib import Path

import numpy as np

from phr.acting.agent import HorizonAgent
from phr.acting.runtime import load_runtime

if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
    sys.exit(f"there is no file {sys.argv[1]}" if sys.argv[1:] else __doc__)
planner = load_runtime(sys.argv[1])
agent = HorizonAgent(planner, planner.commitment)  # as many actions per look as the model's maker chose
tick = time.perf_counter()
for step in range(50):
    # Sensors are read, and the network is asked, only when the plan has run out. Here they show zeros.
    obs = np.zeros(planner.obs_shape, planner.obs_dtype) if agent.needs_observation else None
    print("step", step, "looked" if obs is not None else "blind", "action", agent.act(obs))
    tick += 0.02
    time.sleep(max(0.0, tick - time.perf_counter()))
print(f"{agent.evaluations} looks for 50 actions of {planner.env_id}")
