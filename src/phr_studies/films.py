"""Films of a study's policies, each shot once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from phr.envs import Start
from phr.files import read_json
from phr.protocols import Planner
from phr_studies.footage import make_filmed_env, shoot
from phr_studies.report.film import Film, write_film
from phr_studies.report.page import PageFigure
from phr_studies.workbench import once

SHOWN_SEED = 0
"""Of the episode that every film shows; figure 5 walks from the same start."""


def film_card(file: Path) -> Path:
    """What a film shows, in plain values; written after the film, so that it stands for a whole one."""
    return file.with_suffix(".json")


def film(planner: Planner, env_id: str, n: int, file: Path) -> Film:
    """Film a policy at commitment n.

    Args:
        planner: Who acts.
        env_id: Where.
        n: Actions executed per look.
        file: Where the GIF goes.

    Raises:
        UnsupportedEnvironmentError: If the environment cannot be filmed.
    """
    env = make_filmed_env(env_id)
    made = write_film(shoot(planner, env, Start(SHOWN_SEED), n), file)
    env.close()
    return made


def film_once(planner: Callable[[], Planner], env_id: str, n: int, file: Path) -> None:
    """`film`, unless that was done before; the planner is asked for only if there is something to film."""
    if not file.exists():
        film_card(file).unlink(missing_ok=True)
    once(film_card(file), lambda: asdict(film(planner(), env_id, n, file)))


def film_figure(file: Path, whose: str = "") -> PageFigure:
    """A film with its caption, for the page.

    Args:
        file: What `film_once` wrote.
        whose: Stands before the caption; may be empty.
    """
    return PageFigure(file, whose + Film.from_json(read_json(film_card(file))).caption())
