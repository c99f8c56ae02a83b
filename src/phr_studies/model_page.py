"""`phr report MODEL`: a page with the model's card, the paths it learned and films of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import phr
from phr.acting import commitment_in_words
from phr.envs import Start, make_env
from phr.errors import UnsupportedEnvironmentError, UsageError
from phr.evaluation import describe_machine, make_vector, play_episodes
from phr.files import check_links, read_jsonl
from phr.networks import torch_threads
from phr.storage import METRICS, MODEL, Model, owned
from phr.teachers import ZOO_PREFIX
from phr_studies.films import SHOWN_SEED, film
from phr_studies.report.canvas import STUDENT_CURVE, TEACHER_CURVE, agreement, curve, reliability
from phr_studies.report.figure5 import figure5, trace_path
from phr_studies.report.page import PageFigure, ReportContent, Section, write_page
from phr_studies.report.tables import Column, Table, counted, env_name, number, percent, series_name
from phr_studies.reproduce.content import PAGE
from phr_studies.reproduce.study import is_study, redraw
from phr_studies.worlds import is_grid

COMMITMENTS = (1, 4, 8, 16)
"""The paper's n; a model is shown at those that it can do, and at its whole horizon."""

N_EPISODES = 10
"""Episodes at each n: enough for a first impression; `phr evaluate` plays more."""

HEADS, ROUNDS, CALIBRATION = "agreement_per_head", "refinement", "calibration"
"""Notes of a student that hold more than a line."""

Say = Callable[[str], None]


@torch_threads(1)
def make_report(
    reference: str | Path, *, out: str | Path | None = None, env_id: str | None = None, say: Say = lambda _line: None
) -> Path:
    """Draw the page of a study again, or make one for a model: its card, learned paths, films.

    Args:
        reference: The folder of a study of `phr reproduce`, a run directory, or `zoo:NAME`.
        out: Folder of a model's page: by default `report` in its run directory, `runs/report-NAME` for the zoo's. A study's
            page stays in its folder.
        env_id: Where to act; the model's own environment by default. Required for folders whose environment is a
            `module:factory`: no file runs code that the user did not name.
        say: Called with what happens, one line at a time.

    Returns:
        The page.

    Raises:
        UnknownModelError: If nothing is found, or it has no network.
        CorruptFileError: If a file is missing, truncated or edited.
        OutputDirectoryError: If the study is not finished.
        UsageError: If a study is to be written elsewhere; if a file alone names code to run.
    """
    name = str(reference)
    if is_study(Path(name)):
        if out is not None:
            raise UsageError(f"the page of a study belongs into its folder {name}; leave --out out")
        with owned(Path(name), say=say):
            check_links(Path(name))
            return redraw(Path(name), env_id=env_id)
    model = phr.load(reference)
    model = replace(model, manifest=replace(model.manifest, env_id=model.where(env_id, name)))
    in_zoo = name.startswith(ZOO_PREFIX)
    usual = Path("runs") / f"report-{name.removeprefix(ZOO_PREFIX)}" if in_zoo else Path(name) / "report"
    directory = usual if out is None else Path(out)
    if out is None and not in_zoo and model.directory is not None:
        check_links(model.directory)
    with owned(directory, say=say):
        check_links(directory)
        return write_model_page(model, name, directory, say)


def write_model_page(model: Model, name: str, directory: Path, say: Say) -> Path:
    """Play a model and write its page; `name` is the reference that the user gave."""
    shown = sorted({n for n in (*COMMITMENTS, model.horizon) if n <= model.horizon})
    say(f"playing {name} in {model.env_id}")
    sections = [_results_section(model, shown), _card_section(model, directory)]
    if is_grid(model.env_id):
        sections.append(_path_section(model, shown, directory))
    say(f"filming {name} in {model.env_id}")
    sections.append(_film_section(model, shown, directory))
    machine = describe_machine(threads=1)
    content = ReportContent(
        title=name,
        summary=f"A {model.manifest.kind} for `{model.env_id}` that "
        + ("looks at every step." if model.horizon == 1 else f"predicts {model.horizon} actions from one look."),
        command=shlex.join(["phr", "report", name]),
        machine={"processor": machine["cpu"], **machine["versions"]},
        sections=sections,
    )
    return write_page(content, directory / PAGE)


def _results_section(model: Model, shown: list[int]) -> Section:
    starts = [Start(seed) for seed in range(SHOWN_SEED, SHOWN_SEED + N_EPISODES)]
    try:
        with make_vector(model.env_id, len(starts)) as vector:
            played = {n: play_episodes(model.planner, vector, starts, commitment=n) for n in shown}
    except UnsupportedEnvironmentError as error:
        return Section(heading="Results", paragraphs=[f"There are none: {error}."])
    columns = [
        Column("n", "number", lambda found: str(found[0])),
        Column("return", "number", lambda found: number(float(found[1].returns.mean()))),
        Column("steps an episode", "number", lambda found: number(float(found[1].lengths.mean()))),
        Column("evaluations an episode", "number", lambda found: number(float(found[1].evaluations.mean()))),
    ]
    if is_grid(model.env_id):
        columns.append(Column("goals reached", "number", lambda found: _reached(found[1].n_successes)))
    note = f"Means of {N_EPISODES} greedy episodes, seeds {starts[0].seed} to {starts[-1].seed} for every n."
    return Section(heading="Results", tables=[Table.of("", played.items(), columns, note)])


def _reached(n_successes: int | None) -> str:
    return "unknown" if n_successes is None else f"{n_successes} of {N_EPISODES}"


def _card_section(model: Model, directory: Path) -> Section:
    manifest = model.manifest
    shape = " × ".join(str(size) for size in manifest.obs_shape)
    facts = {
        "kind": manifest.kind,
        "environment": manifest.env_id,
        "horizon": str(model.horizon),
        "default commitment": str(commitment_in_words(None, model.planner)),
        "observation": f"{shape}, {manifest.obs_dtype}",
        "actions": str(manifest.n_actions),
        "parameters": f"{sum(parameter.numel() for parameter in model.network.parameters()):,}",
        **{key.replace("_", " "): _fact(key, value) for key, value in manifest.notes.items() if value is not None},
        "made with": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
        f"SHA-256 of {MODEL}": manifest.files.get(MODEL, model.sha256),
    }
    table = Table("", (Column("what"), Column("value")), tuple(facts.items()))
    figures = [*_training_curve(model, directory), *_agreement(model, directory), *_reliability(model, directory)]
    return Section(heading="Card", figures=figures, tables=[table])


def _fact(key: str, value: Any) -> str:
    if key == "loss":
        return series_name(str(value))
    if key == HEADS:
        return f"{percent(value[0])} of first actions, {percent(value[-1])} of last ones, on the teacher's states"
    if key == ROUNDS:
        return f"{counted(len(value), 'round')}, {counted(sum(each['windows'] for each in value), 'window')}"
    if key == "curve":
        return ", ".join(f"n = {n}: {percent(share)}" for n, share in value["shares"].items()) + " of the teacher's return"
    if key == CALIBRATION:
        return f"confidence is {percent(value['error'])} off the share of right plans, on unseen states"
    if key == "tuned":
        return str(value["verdict"])
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _training_curve(model: Model, directory: Path) -> list[PageFigure]:
    """The curve of the training, where its metrics lie beside the model; the zoo's models come without."""
    rows = [] if model.directory is None else read_jsonl(model.directory / METRICS)
    is_student = model.manifest.kind == "student"
    values = STUDENT_CURVE if is_student else TEACHER_CURVE
    if not any(key in row for row in rows for key in values):
        return []
    picture = curve(rows, directory / "figures" / "curve.png", values=values, log=is_student)
    return [PageFigure(picture, "The training.")]


def _agreement(model: Model, directory: Path) -> list[PageFigure]:
    """Which of a plan's actions are the teacher's; nothing for a teacher, and for those who look at every step."""
    notes = model.manifest.notes
    if model.horizon == 1 or HEADS not in notes:
        return []
    lines = {"teacher's states": notes[HEADS]}
    for when in ("before", "after") if notes.get(ROUNDS) else ():
        if when in notes[ROUNDS][-1]:  # a round that found the plans good enough trained nothing
            lines[f"own states, {when}"] = notes[ROUNDS][-1][when]
    picture = agreement(lines, directory / "figures" / "agreement.png")
    own = " Own states: kept back from the last round of refinement, before and after it." if len(lines) > 1 else ""
    return [PageFigure(picture, f"How often an action of the plan is the teacher's.{own}")]


def _reliability(model: Model, directory: Path) -> list[PageFigure]:
    """How often plans are right that are so sure, where it was measured."""
    if CALIBRATION not in model.manifest.notes:
        return []
    rows = model.manifest.notes[CALIBRATION]["reliability"]
    picture = reliability(rows, directory / "figures" / "reliability.png")
    text = "How often a plan is still right, against how sure it is: on the diagonal both agree. Large dots: many steps."
    return [PageFigure(picture, text)]


def _path_section(model: Model, shown: list[int], directory: Path) -> Section:
    figures = []
    for n in shown:
        path = trace_path(model.planner, make_env(model.env_id), SHOWN_SEED, n)
        picture = figure5(path, directory / "figures" / f"path-n{n}.png")
        caption = f"n = {n}: {len(path.actions)} actions, {counted(path.evaluations, 'evaluation')}."
        figures.append(PageFigure(picture, caption))
    text = (
        "A number is the action that led into the cell; red and bold: the network was evaluated right before it. "
        f"One of the starts of {env_name(model.env_id)}, the same for every n."
    )
    return Section(heading="Learned paths", paragraphs=[text], figures=figures)


def _film_section(model: Model, shown: list[int], directory: Path) -> Section:
    files = {n: directory / "films" / f"n{n}.gif" for n in shown}
    try:
        captions = {n: film(model.planner, model.env_id, n, file).caption() for n, file in files.items()}
    except UnsupportedEnvironmentError as error:
        return Section(heading="Films", paragraphs=[f"There is none: {error}."])
    text = (
        "Greedy play from one start, the same for every n. The marks below a film are its latest steps, red where the "
        "network was evaluated."
    )
    return Section(heading="Films", paragraphs=[text], figures=[PageFigure(files[n], captions[n]) for n in shown])
