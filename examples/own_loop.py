"""Run a control loop at 50 Hz; requires phr without extras: python examples/own_loop.py FILE.onnx."""

import sys
import time
from pathlib import Path

import numpy as np

from phr.acting.agent import HorizonAgent
from phr.acting.runtime import load_runtime

if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
    sys.exit(f"FILE.onnx must be an existing file, got {sys.argv[1]!r}" if sys.argv[1:] else __doc__)
planner = load_runtime(sys.argv[1])
agent = HorizonAgent(planner, planner.commitment)  # the commitment recorded in the file
tick = time.perf_counter()
for step in range(50):
    # Read the sensors and run the network only when the plan has ended. This example reads zeros.
    obs = np.zeros(planner.obs_shape, planner.obs_dtype) if agent.needs_observation else None
    print("step", step, "looked" if obs is not None else "blind", "action", agent.act(obs))
    tick += 0.02
    time.sleep(max(0.0, tick - time.perf_counter()))
print(f"{agent.evaluations} looks for 50 actions of {planner.env_id}")
