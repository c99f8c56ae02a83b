"""Change lines of phr one at a time, and count the changes that no test notices.

    .venv/bin/python benchmarks/mutations.py

Each entry names a file, a text that stands in it once, what replaces it, and the tests that should fail. The file is written
back after each run, so commit first. Exit code 1 if a change survives, or if its text no longer stands in the file.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

MUTATIONS = (
    (
        "src/phr/acting/agent.py",
        "actions.shape[1:] != self._planned_shape or len(actions) != n_observations",
        "actions.shape[1:] != self._planned_shape",
        "tests/acting/test_agent.py tests/acting/test_commitment.py",
    ),
    (
        "src/phr/acting/agent.py",
        "found.dtype != bool or found.shape != (self.n_envs,)",
        "found.shape != (self.n_envs,)",
        "tests/acting/test_agent.py tests/acting/test_commitment.py",
    ),
    (
        "src/phr/acting/agent.py",
        "if isinstance(plan, NetworkPlan) and np.isnan(plan.outputs).any():",
        "if False:",
        "tests/acting/test_agent.py tests/acting/test_commitment.py",
    ),
    (
        "src/phr/acting/commitment.py",
        "((lengths >= 1) & (lengths <= horizon)).all()",
        "(lengths <= horizon).all()",
        "tests/acting/test_agent.py tests/acting/test_commitment.py",
    ),
    (
        "src/phr/acting/commitment.py",
        "np.maximum((joint >= self.threshold).sum(axis=1), 1)",
        "np.maximum((joint > self.threshold).sum(axis=1), 1)",
        "tests/acting/test_agent.py tests/acting/test_commitment.py",
    ),
    (
        "src/phr/observations.py",
        'if dtype.kind == "f" and not np.isfinite(array).all():',
        'if dtype.kind == "f" and np.isnan(array).any():',
        "tests/test_observations.py tests/acting/test_runtime.py",
    ),
    (
        "src/phr/observations.py",
        "found.shape != self.shape or found.scale != self.scale or",
        "found.shape != self.shape or",
        "tests/test_observations.py tests/evaluation/test_evaluate.py",
    ),
    (
        "src/phr/observations.py",
        "return cast if (cast == array).all() else array",
        "return cast",
        "tests/test_observations.py tests/acting",
    ),
    (
        "src/phr/plan.py",
        "(most - smoothing / n_actions) / (1.0 - smoothing)",
        "(most - smoothing / n_actions)",
        "tests/test_plan.py tests/acting/test_runtime.py",
    ),
    (
        "src/phr/envs/contract.py",
        'array.dtype.kind not in "biu" or array not in (0, 1)',
        'array.dtype.kind not in "biu"',
        "tests/envs/test_contract.py",
    ),
    (
        "src/phr/envs/contract.py",
        "return None if np.ma.is_masked(value) else np.asarray(value)",
        "return np.asarray(value)",
        "tests/envs/test_contract.py tests/envs/test_flatten.py",
    ),
    (
        "src/phr/envs/contract.py",
        "return lambda action: np.array(action, dtype)",
        "return lambda action: np.asarray(action, dtype)",
        "tests/envs/test_contract.py tests/envs/test_split.py",
    ),
    ("src/phr/envs/vector.py", "ends, cut, dict(info)", "ends, cut, info", "tests/envs/test_vector.py"),
    (
        "src/phr/envs/vector.py",
        "if cut and not ends:",
        "if cut:",
        "tests/envs/test_vector.py tests/envs/test_training_vector.py",
    ),
    ("src/phr/envs/vector.py", "for env in reversed(self.envs):", "for env in self.envs[:1]:", "tests/envs/test_vector.py"),
    (
        "src/phr/experience/success.py",
        "returns[ended].mean() < returns[~ended].mean()",
        "returns[ended].mean() > returns[~ended].mean()",
        "tests/experience/test_success.py",
    ),
    ("src/phr/experience/success.py", "if low > 0:", "if low > 1:", "tests/experience/test_success.py"),
    (
        "src/phr/experience/success.py",
        "best, bound = returns >= least",
        "best, bound = returns > least",
        "tests/experience/test_success.py",
    ),
    (
        "src/phr/experience/trajectory.py",
        "Discrete(self.teacher_logits.shape[1]).check(self.actions)",
        "pass",
        "tests/experience",
    ),
    ("src/phr/experience/collect.py", "ask(teacher, obs.copy())", "ask(teacher, obs)", "tests/experience/test_collect.py"),
    (
        "src/phr/distil/windows.py",
        "return np.minimum(steps, ends - 1), steps < ends",
        "return np.minimum(steps, ends - 1), steps <= ends",
        "tests/distil/test_windows.py",
    ),
    (
        "src/phr/distil/windows.py",
        "later[:, 0] = False",
        "later[:, 0] = True",
        "tests/distil/test_windows.py tests/distil/test_phr.py",
    ),
    (
        "src/phr/distil/phr.py",
        'if id(p) in decaying], "weight_decay": self.config.weight_decay',
        'if id(p) in decaying], "weight_decay": 0.0',
        "tests/distil/test_phr.py",
    ),
    (
        "src/phr/distil/phr.py",
        "self.network.parameters(), self.config.max_grad_norm",
        "self.network.parameters(), 1e9",
        "tests/distil/test_phr.py",
    ),
    (
        "src/phr/distil/phr.py",
        "ent_coef = self._stage_1.ent_coef * self._stage_1.ent_coef_end",
        "ent_coef = self._stage_1.ent_coef",
        "tests/distil/test_joint.py",
    ),
    (
        "src/phr/distil/phr.py",
        "return self.step(self.loss(), loss) | parts",
        "return self.step(self.loss()) | parts",
        "tests/distil/test_joint.py",
    ),
    (
        "src/phr/distil/refine.py",
        "windows.add(new, keys, ~aside)",
        "windows.add(new, keys, np.ones(len(new), bool))",
        "tests/distil/test_refine.py",
    ),
    (
        "src/phr/distil/refine.py",
        "commitments = self._rng.integers(1, horizon + 1, size=n_envs)",
        "commitments = self._rng.integers(1, horizon, size=n_envs) if horizon > 1 else np.ones(n_envs, int)",
        "tests/distil/test_student_states.py",
    ),
    (
        "src/phr/distil/presets.py",
        "affordable = max(1, RECORDED_BYTES // (prod(space.shape) * space.dtype.itemsize))",
        "affordable = max(1, RECORDED_BYTES // prod(space.shape))",
        "tests/distil/test_presets.py",
    ),
    (
        "src/phr/teacher/a2c.py",
        "carries = gamma * gae_lambda * ~(terminated | truncated)",
        "carries = gamma * gae_lambda * ~terminated",
        "tests/teacher",
    ),
    (
        "src/phr/teacher/a2c.py",
        "return start * (1.0 - (1.0 - end_fraction) * self.n_updates / self.config.n_updates)",
        "return start",
        "tests/teacher/test_a2c.py",
    ),
    (
        "src/phr/teacher/a2c.py",
        "partial(torch.optim.RMSprop, alpha=0.99)",
        "partial(torch.optim.RMSprop, alpha=0.9)",
        "tests/teacher/test_a2c.py",
    ),
    (
        "src/phr/teacher/tape.py",
        "self._scale = 1.0 if self._trunk.normalize else self._trunk.scale",
        "self._scale = self._trunk.scale",
        "tests/teacher/test_tape.py",
    ),
    (
        "src/phr/evaluation/bound.py",
        "n_now = 1 if seconds_per_step > _SLOW_STEP else len(left)",
        "n_now = len(left)",
        "tests/evaluation/test_bound.py",
    ),
    (
        "src/phr/evaluation/timed.py",
        "kept = copied(actions)",
        "kept = actions",
        "tests/evaluation/test_timed.py tests/evaluation/test_bound.py",
    ),
    (
        "src/phr/storage/onnx_export.py",
        "allowed = max(TOLERANCE, ROUNDINGS * rounding)",
        "allowed = max(1.0, ROUNDINGS * rounding)",
        "tests/storage/test_onnx_export.py",
    ),
    ("src/phr/networks/trunks.py", "numbers.std(axis=0), still", "numbers.std(axis=0) + 1e-6, still", "tests/networks"),
    (
        "src/phr/settings.py",
        "return isinstance(value, int | np.integer) and not isinstance(value, bool)",
        "return isinstance(value, int | np.integer)",
        "tests/test_settings.py tests/acting/test_commitment.py tests/test_seeding.py",
    ),
    (
        "src/phr_studies/reproduce/profiles.py",
        "if min(first) > max(second) + tolerance:",
        "if min(first) > max(second):",
        "tests/phr_studies/reproduce/test_verdicts.py",
    ),
    (
        "src/phr_studies/report/bootstrap.py",
        "numerators[rows] += above",
        "numerators[rows] = above",
        "tests/phr_studies/report/test_bootstrap.py",
    ),
    ("src/phr/evaluation/timed.py", '"prefix", (int(low), int(high))', '"prefix", pair', "tests/api/test_measure.py"),
    ("src/phr/envs/flatten.py", "if dtype.itemsize > 8:", "if False:", "tests/envs/test_flatten.py"),
)


def main() -> int:
    """Make every change, run its tests, print what became of it."""
    failures = 0
    for name, before, after, tests in MUTATIONS:
        file = ROOT / name
        text = file.read_text(encoding="utf-8")
        if text.count(before) != 1:
            failures += 1
            print(f"{name}: {before!r} stands there {text.count(before)} times")
            continue
        try:
            file.write_text(text.replace(before, after), encoding="utf-8")
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *tests.split()]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        finally:
            file.write_text(text, encoding="utf-8")
        survived = done.returncode != 1  # pytest's code for failed tests
        failures += survived
        print(f"{name}: {after!r} {'SURVIVED' if survived else 'was noticed'}", flush=True)
    print(f"{len(MUTATIONS)} changes, {failures} not noticed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
