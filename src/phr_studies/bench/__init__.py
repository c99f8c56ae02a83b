"""How fast phr is on this machine, side by side with its peers. One section, one module (`run.py` lists them)."""
