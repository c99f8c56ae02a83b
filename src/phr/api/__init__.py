"""phr in five lines of Python; the command line calls nothing else.

```python
import phr

teacher = phr.train_teacher("MiniGrid-SimpleCrossingS9N1-v0", seed=0)
student = phr.distill(teacher, horizon=8, loss="cross_entropy")
print(phr.evaluate(student, steps=100_000, runs=5))
phr.export_onnx(student, "student.onnx")
```
"""

from __future__ import annotations

from phr.api.learn import convert_vecnormalize, distill, load, load_teacher, train_teacher
from phr.api.measure import evaluate, evaluate_all_starts, export_onnx

__all__ = [
    "convert_vecnormalize",
    "distill",
    "evaluate",
    "evaluate_all_starts",
    "export_onnx",
    "load",
    "load_teacher",
    "train_teacher",
]
