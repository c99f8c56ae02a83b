"""Distil every public agent below a folder, certify the students, and compare them with their teachers on other episodes.

    .venv/bin/python benchmarks/public_agents.py --agents rl-trained-agents --out runs/public-agents

For each folder of RL Baselines3 Zoo it notes whether the policy could be read, else why; plays 100 episodes of the teacher
beside the published return (`published.csv` of columns algo, env_id, mean_reward, std_reward in `--agents`, if it is there),
and beside what its maker's own loop returns here, Stable-Baselines3's `evaluate_policy`, where the two differ by more than
two published deviations; runs `phr distill DIR --retain 0.99 --budget 10`; and plays teacher and student in 100 others, the
student with its certified rule. One JSON file an agent in `--out`, which a second call reuses; then a table and a figure.
Two calls with `--shard 0:2` and `--shard 1:2` share the work; the table has what was measured so far.
"""

from __future__ import annotations

import csv
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure

from phr import api
from phr.cli.display import ProgressBar, say
from phr.envs.registry import make_gym_env
from phr.envs.vector import Start
from phr.errors import PhrError, UsageError, error_text
from phr.evaluation.episodes import make_vector, play_episodes, run_randomness
from phr.files import read_json, write_json, write_text
from phr.plan import Planner
from phr.teachers.normalization import read_vecnormalize
from phr.teachers.references import resolve
from phr.teachers.training_run import is_training_run, read_run
from phr_studies.report.canvas import Theme, dress, new_figure, save
from phr_studies.report.tables import NOTHING, Column, Table, number, times, to_markdown

SEED = 2000
"""Seed of the other episodes; neither training nor tuning uses its random streams."""
LANES = 32


@dataclass(frozen=True)
class Arguments:
    """Read, distil, certify and compare every agent."""

    agents: Path
    """A folder of ALGO/ENV_1 folders, as rl-trained-agents."""
    out: Path = Path("runs/public-agents")
    """Folder of students, one JSON file an agent, public-agents.md and public-agents.png."""
    only: tuple[str, ...] = ()
    """Parts of names, like sac/ or Hopper (default: all)."""
    shard: str = "0:1"
    """K:N takes every N-th agent, from the K-th on."""
    retain: float = 0.99
    """Share of the teacher's return to certify."""
    budget: float = 10.0
    """Minutes after which no further student is begun."""
    horizon: int = 8
    """Actions that a student predicts."""
    episodes: int = 100
    """Episodes of the teacher, and other ones of teacher and student."""


def main(arguments: Arguments) -> int:
    """Measure what is missing, print and write the table."""
    torch.set_num_threads(1)
    asked = arguments.only or ("",)
    names = [name for name in agents_below(arguments.agents) if any(part in name for part in asked)]
    if not names:
        raise UsageError(f"there is no agent below {arguments.agents}")
    first, _, every = arguments.shard.partition(":")
    for name in names[int(first) :: int(every or 1)]:
        if not (file := _file(name, arguments)).exists():
            say(f"{name} ...")
            write_json(file, measure(name, arguments))
    rows = [read_json(file) for file in sorted((arguments.out / "agents").glob("*.json"))]
    text = to_markdown(table_of(rows)) + "\n\n" + summary(rows) + "\n"
    write_text(arguments.out / "public-agents.md", text)
    draw(rows, arguments.out / "public-agents.png")
    print(text)
    return 0


def _file(name: str, arguments: Arguments) -> Path:
    return arguments.out / "agents" / f"{name.replace('/', '-')}.json"


def agents_below(folder: Path) -> list[str]:
    """Return the folders that hold a policy, relative to this one."""
    found = sorted(path for path in folder.glob("*/*") if is_training_run(path))
    return [str(path.relative_to(folder)) for path in found]


def measure(name: str, arguments: Arguments) -> dict[str, Any]:
    """Return all about one agent; `refused` is why it was not read, `failed` why nothing was certified."""
    path = arguments.agents / name
    result: dict[str, Any] = {"name": name, "retain": arguments.retain, "horizon": arguments.horizon}
    try:
        actor = resolve(str(path))
        teacher = play(actor.planner, actor.env_id, range(arguments.episodes))
    except PhrError as error:
        return result | {"refused": str(error)}
    result |= {
        "env_id": actor.env_id,
        "teacher": summary_of(teacher),
        "published": published(arguments.agents, name),
        "recorded": None if actor.recorded is None else vars(actor.recorded),
        "warnings": list(actor.warnings),
    }
    if not is_as_published(result):
        result["maker"] = maker_returns(path, actor.env_id, arguments.episodes)
    since = time.perf_counter()
    student_folder = arguments.out / "students" / name.replace("/", "-")
    try:
        with ProgressBar() as bar:
            student = api.distill(
                str(path), horizon=arguments.horizon, retain=arguments.retain, budget=arguments.budget,
                out=student_folder, resume=student_folder.exists(), on_progress=bar, say=say,
            )  # fmt: skip
    except PhrError as error:
        return result | {"failed": str(error), "minutes": (time.perf_counter() - since) / 60}
    tuned = student.manifest.notes["tuned"]
    result |= {"minutes": (time.perf_counter() - since) / 60, "verdict": tuned["verdict"]}
    chosen = tuned["chosen"]
    others = range(arguments.episodes, 2 * arguments.episodes)
    theirs, mine = (play(planner, actor.env_id, others) - tuned["zero"] for planner in (actor.planner, student.planner))
    short = arguments.retain * theirs - mine  # above 0 where the certificate does not hold
    result |= {"kept": float(mine.mean() / theirs.mean()), "short": float(short.mean())}
    result |= {"short_error": float(short.std(ddof=1) / np.sqrt(len(short)))}
    result |= {
        "student": summary_of(mine + tuned["zero"]),
        "zero": tuned["zero"],
        "curve": tuned["curve"],
        "lowered": student.manifest.notes.get("lowered"),
        "width": student.network.config.trunk.width,
    }
    if chosen is not None:
        result |= {"rule": chosen["rule"], "looks_saved": 1 / chosen["looks_per_step"], "time_saved": chosen["time_saved"]}
    return result


def is_as_published(row: dict[str, Any]) -> bool:
    """Return whether a teacher's mean is within two published deviations, or nothing was published."""
    known = row["published"]
    return known is None or abs(row["teacher"]["mean"] - known["mean"]) <= 2 * known["std"]


def maker_returns(path: Path, env_id: str, episodes: int) -> dict[str, float] | str:
    """Return what Stable-Baselines3's own policy, normalisation and loop collect in this environment, or why they do not."""
    venv: Any = None
    try:
        from sb3_contrib import ARS, QRDQN, TQC, TRPO
        from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
        from stable_baselines3.common.evaluation import evaluate_policy
        from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

        kinds: dict[str, Any] = {
            each.__name__.lower(): each for each in (A2C, ARS, DDPG, DQN, PPO, QRDQN, SAC, TD3, TQC, TRPO)
        }
        run, venv = read_run(path), DummyVecEnv([lambda: make_gym_env(env_id)])
        # What today's version cannot read of an old file: schedules, which acting does not need, and Gym's spaces.
        unread = dict.fromkeys(("lr_schedule", "clip_range"), lambda _left: 0.0)
        given = unread | {"observation_space": venv.observation_space, "action_space": venv.action_space}
        model = kinds[path.parent.name].load(run.file, device="cpu", custom_objects=given | {"learning_rate": 0.0})
        if run.statistics is not None and (statistics := read_vecnormalize(run.statistics)) is not None:
            ours = statistics.entries[None]
            venv = VecNormalize(venv, training=False, norm_reward=False, clip_obs=float(ours.limit.max()))
            venv.obs_rms.mean, venv.obs_rms.var = ours.mean, np.square(ours.deviation) - venv.epsilon
        venv.seed(SEED)
        returns, _ = evaluate_policy(model, venv, episodes, deterministic=True, return_episode_rewards=True, warn=False)
    except Exception as error:  # whatever another library raises at an old file
        return error_text(error)
    finally:
        if venv is not None:
            venv.close()
    return summary_of(np.array(returns))


def play(planner: Planner, env_id: str, indices: Sequence[int]) -> Any:
    """Return the returns of greedy episodes, one for each index."""
    starts = [Start(run_randomness(SEED, index)[0]) for index in indices]
    with make_vector(env_id, min(LANES, len(starts))) as vector:
        return play_episodes(planner, vector, starts).returns


def summary_of(returns: Any) -> dict[str, float]:
    """Mean and standard deviation."""
    return {"mean": float(returns.mean()), "std": float(returns.std(ddof=1))}


def published(folder: Path, name: str) -> dict[str, float] | None:
    """Return the published mean and standard deviation, None if there is none."""
    file = folder / "published.csv"
    if not file.exists():
        return None
    algorithm, env = name.split("/")[0], name.split("/")[1].rpartition("_")[0]
    with file.open() as lines:
        for row in csv.DictReader(lines):
            if (row["algo"], row["env_id"]) == (algorithm, env):
                return {"mean": float(row["mean_reward"]), "std": float(row["std_reward"])}
    return None


COLUMNS = (
    Column("agent"),
    Column("made as"),
    Column("its return", "number"),
    Column("published", "number"),
    Column("maker's loop", "number"),
    Column("certified"),
    Column("looks saved", "number"),
    Column("time saved", "number"),
    Column("kept", "number"),
    Column("minutes", "number"),
)


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the table, one line for each agent."""
    note = (
        "Its return and kept: means of 100 episodes each; those kept earned no certificate. Time saved: policy time "
        "against the teacher's own call, both on torch."
    )
    return Table("", COLUMNS, tuple(_line(row) for row in rows), note)


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    if "refused" in row:
        return (row["name"], *[NOTHING] * 4, f"not read: {row['refused']}", *[NOTHING] * 4)
    theirs, known, maker = row["teacher"], row["published"], row.get("maker")
    shown = [each if isinstance(each, str) else _spread(each) if each else NOTHING for each in (known, maker)]
    begin = (row["name"], row["env_id"], _spread(theirs), *shown)
    if "failed" in row:
        return (*begin, row["failed"], *[NOTHING] * 3, number(row["minutes"], 1))
    so_far = re.search(r"certified so far is (.+? ≥ .+?%)", row["verdict"])
    rule = row.get("rule", f"nothing; so far {so_far[1]}" if so_far else "nothing")
    saved = [times(row[key]) if row.get(key) else NOTHING for key in ("looks_saved", "time_saved")]
    return (*begin, rule, *saved, number(row["kept"], 3), number(row["minutes"], 1))


def _spread(of: dict[str, float]) -> str:
    return f"{number(of['mean'])} ± {number(of['std'])}"


def is_broken(row: dict[str, Any]) -> bool:
    """Return whether the other episodes contradict a certificate, by two standard errors."""
    return "rule" in row and row["short"] > 2 * row["short_error"]


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Return one paragraph of all agents together."""
    certified = [row for row in rows if "rule" in row]
    if not certified:
        return f"{len(rows)} agents, none certified."
    looks = float(np.median([row["looks_saved"] for row in certified]))
    policy = float(np.median([row["time_saved"] for row in certified if row["time_saved"]]))
    close = [row for row in rows if row.get("published")]
    near = sum(map(is_as_published, close))
    broken, below = sum(map(is_broken, certified)), sum(row["short"] > 0 for row in certified)
    return (
        f"{len(rows)} agents; {sum('refused' in row for row in rows)} not read; {near} of {len(close)} returns within two "
        f"published deviations; {len(certified)} certified, median looks saved {looks:.1f}×, policy time {policy:.1f}×; "
        f"{broken} certificates broken in other episodes by more than two standard errors, {below} as observed; longest "
        f"{max(row['minutes'] for row in certified):.1f} min."
    )


def draw(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """Draw looks saved over kept, a dot for each certified agent."""
    dots = [row for row in rows if "rule" in row]
    if dots:
        save(file, partial(_draw, dots))


def _draw(dots: Sequence[dict[str, Any]], theme: Theme) -> Figure:
    figure = new_figure(5.4, 3.8)
    axes = figure.subplots()
    dress(axes, theme)
    kept, saved = ([row[key] for row in dots] for key in ("kept", "looks_saved"))
    axes.axvline(dots[0]["retain"], color=theme.faint, linewidth=1, linestyle=(0, (1, 2.5)))
    axes.scatter(kept, saved, s=28, color=theme.cycle[0], alpha=0.8, zorder=3)
    axes.set_xlabel("share of the teacher's return kept in 100 other episodes", color=theme.faint)
    axes.set_ylabel("fewer looks", color=theme.faint)
    axes.xaxis.set_major_formatter(lambda value, _position: f"{100 * value:.4g} %")
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:.3g}×")
    axes.set_ylim(bottom=0)
    return figure


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))
