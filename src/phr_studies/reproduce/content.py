"""The report of a finished study: which figures, tables and words, from its results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phr.files import read_json, read_jsonl, write_text
from phr.manifest import MANIFEST, Manifest
from phr.storage import METRICS, MODEL
from phr_studies.films import film_figure
from phr_studies.report.figure4 import figure4
from phr_studies.report.figure5 import figure5
from phr_studies.report.lines import TEACHER_CURVE, curve
from phr_studies.report.page import PageFigure, ReportContent, Section, write_page
from phr_studies.report.points import TEACHER, Point, describe_intervals, find
from phr_studies.report.tables import Column, Table, to_markdown
from phr_studies.report.text import counted, env_name, number, percent, series_name, times
from phr_studies.reproduce.profiles import ZOO_TEACHERS, Profile
from phr_studies.reproduce.results import Results
from phr_studies.reproduce.tables import StudyTables, study_tables
from phr_studies.worlds import is_grid

PAGE, TABLES = "report.html", "tables.md"

NOTES = {
    "cross_entropy": "copies the teacher's action at every step of its path, and nothing else.",
    "kl": "copies the teacher's whole distribution (student‖teacher), smoothed by ε = 0.1. Unsmoothed, a sure teacher "
    "punishes other actions without bound and the student collapses onto one of them.",
    "squared": "copies the teacher's whole distribution, smoothed by ε = 0.1. Its gradient fades where the student is "
    "confidently wrong, so late heads learn slowest.",
}
"""What to know of a loss when reading its rows; docs/method.md has the reasons, LOG.md the numbers."""
_JITTER = "How often the policies of the games change their mind."


def write_report(results: Results, planned: Profile, *, command: str) -> Path:
    """Draw the figures, write `tables.md` and `report.html`.

    Args:
        results: Of the training seeds that are done.
        planned: The whole study; the report says so where seeds are still to come.
        command: What the user typed.

    Returns:
        The page.
    """
    directory, points = results.layout.root, results.points()
    tables = study_tables(results, points)
    write_text(directory / TABLES, "\n".join(to_markdown(table) for table in tables))
    done, all_of_them = len(results.profile.seeds), len(planned.seeds)
    unfinished = f"Unfinished: {done} of {all_of_them} training seeds so far; the same command goes on. "
    content = ReportContent(
        title="Policy Horizon Regression: figures 4 and 5",
        summary=f"{unfinished if done < all_of_them else ''}{_summary(results, points)}",
        command=command,
        machine=_machine(results),
        highlights=_highlights(results, points),
        sections=_sections(results, points, tables),
    )
    return write_page(content, directory / PAGE)


def _faster(points: Sequence[Point], env_id: str, loss: str, n: int) -> tuple[Point, Point, str] | None:
    """Teacher, student, and how much less time the student needs; None where one was not measured."""
    teacher, student = find(points, env_id, TEACHER, 1), find(points, env_id, loss, n)
    if teacher is None or student is None:
        return None
    return teacher, student, times(teacher.seconds_per_100k_steps / student.seconds_per_100k_steps)


def _summary(results: Results, points: Sequence[Point]) -> str:
    loss, largest = results.profile.losses[0], results.profile.max_horizon
    parts = [
        f"in {env_name(env_id)} a student that looks once every {largest} actions "
        f"returns {number(found[1].return_mean)} (teacher: {number(found[0].return_mean)}) "
        f"and needs {found[2]} less time"
        for env_id in results.profile.env_ids
        if (found := _faster(points, env_id, loss, largest))
    ]
    return (
        "A teacher is trained by A2C, then distilled into students that predict several actions from one look. "
        f"Measured here: {'; '.join(parts)}"
        ". The paper reports that time is at least halved while policy quality is kept."
    )


def _highlights(results: Results, points: Sequence[Point]) -> list[tuple[str, str]]:
    """How much faster students are, and what the largest n keeps: starts solved on a grid, return in a game."""
    loss, largest, cards = results.profile.losses[0], results.profile.max_horizon, []
    for env_id in results.profile.env_ids:
        for n in (4, largest):
            if n in results.profile.horizons and (found := _faster(points, env_id, loss, n)):
                cards.append((found[2], f"faster at n = {n}, {env_name(env_id)}"))
        reached = results.starts(env_id, loss, largest)
        if is_grid(env_id):
            share = sum(one["n_solved"] for one in reached) / sum(one["n_starts"] for one in reached)
            cards.append((percent(share), f"of all starts solved at n = {largest}, {env_name(env_id)}"))
        else:
            mean = sum(one["return_mean"] for one in reached) / len(reached)
            cards.append((number(mean, 1), f"return at n = {largest} over all starts, {env_name(env_id)}"))
    return cards


def _machine(results: Results) -> dict[str, str]:
    machines, profile = results.machines, results.profile
    versions: dict[str, Any] = machines[0]["versions"]
    return {
        "processor": " / ".join(dict.fromkeys(machine["cpu"] for machine in machines)),
        "threads": str(machines[0]["threads"]),
        "profile": f"{profile.name}: {len(profile.seeds)} training seeds, "
        f"{profile.runs} timed runs of {profile.steps:,} steps each",
        **{name: str(version) for name, version in versions.items()},
    }


def _sections(results: Results, points: Sequence[Point], tables: StudyTables) -> list[Section]:
    layout, profile = results.layout, results.profile
    grids = [env_id for env_id in profile.env_ids if is_grid(env_id)]
    optima = {"a shortest path": bool(grids), "a perfect game": len(grids) < len(profile.env_ids)}
    caption = (
        "Score per second (top, higher is better) and seconds per 100,000 steps (bottom, lower is better) over n. "
        f"Optimum: {' or '.join(kind for kind, shown in optima.items() if shown)}, in the time of the "
        f"{series_name(profile.losses[0])} student; who was faster by chance may stand above it. "
        f"{describe_intervals(points)}"
    ).rstrip()
    students = (
        f"One student of horizon {profile.max_horizon} for each loss, executed n actions at a time"
        if profile.one_student
        else "A student of its own for every n and loss, as in the paper"
    )
    protocol = (
        f"{students}. n = 1 is the teacher. One environment, one thread, batch size 1; "
        "policies alternate within a round, so that a change of the machine's speed meets all of them alike. "
        "Observations that nobody looks at are never computed."
    )
    losses = [f"`{loss}` {NOTES[loss]}" for loss in profile.losses if loss in NOTES]
    luck = "What the policies reach when luck and the clock are taken out."
    ablations = "One student of the largest horizon per setting and training seed, all else as by default."
    timed = PageFigure(figure4(points, layout.figure("figure-4")), caption, wide=True)
    return [
        Section(heading="Figure 4: throughput and time", paragraphs=[protocol], figures=[timed], tables=tables.timed),
        Section(heading="Every start once", paragraphs=[luck, *losses], tables=tables.starts),
        *([Section(heading="Jitter", paragraphs=[_JITTER], tables=tables.jitter)] if tables.jitter else []),
        *(_path_section(results, env_id) for env_id in grids),
        *(_film_section(results, env_id) for env_id in profile.env_ids),
        *([Section(heading="Ablations", paragraphs=[ablations], tables=tables.ablations)] if profile.ablations else []),
        _training_section(results),
    ]


def _path_section(results: Results, env_id: str) -> Section:
    figures = []
    for n in results.profile.horizons:
        path = results.path(env_id, n)
        picture = figure5(path, results.layout.figure(f"figure-5-{env_id}-n{n}"))
        looks = counted(path.evaluations, "evaluation")
        outcome = {True: "reached the goal", False: "did not reach the goal", None: "success unknown"}[path.solved]
        figures.append(PageFigure(picture, f"n = {n}: {len(path.actions)} actions, {looks}, {outcome}."))
    text = (
        f"The path of the student trained with {series_name(results.profile.losses[0])}. A number is the action that led "
        "into the cell; red and bold: the network was evaluated right before it."
    )
    return Section(heading=f"Figure 5: the learned path, {env_name(env_id)}", paragraphs=[text], figures=figures)


def _film_section(results: Results, env_id: str) -> Section:
    profile = results.profile
    figures = [film_figure(results.layout.film(env_id, n), "Teacher, " if n == 1 else "") for n in profile.horizons]
    text = (
        f"The teacher at n = 1, above that the student trained with {series_name(profile.losses[0])}; all from the same "
        "start. The marks below a film are its latest steps, red where the network was evaluated."
    )
    return Section(heading=f"Films, {env_name(env_id)}", paragraphs=[text], figures=figures)


def _training_section(results: Results) -> Section:
    """Stage 1's curves of the first seed (none where a training was too short for one row of metrics), and its models."""
    profile, layout = results.profile, results.layout
    seed, figures, models = profile.seeds[0], [], []
    for env_id in profile.env_ids:
        teacher = layout.teacher(env_id, seed)
        if rows := read_jsonl(teacher / METRICS):
            best = results.optimum(env_id)["return_mean"]
            file = layout.figure(f"curve-{env_id}")
            picture = curve(rows, file, values=TEACHER_CURVE, references={"best possible": best})
            text = f"Stage 1 in {env_name(env_id)}, seed {seed}: return of recent training episodes."
            figures.append(PageFigure(picture, text))
        students = [layout.student(env_id, loss, n, seed) for loss in profile.losses for n in profile.student_horizons]
        models += [(env_name(env_id), folder) for folder in (teacher, *students)]
    columns = (
        Column("environment"),
        Column("kind"),
        Column("horizon", "number"),
        Column("folder", "code"),
        Column("SHA-256", "code"),
    )
    table = Table(f"Models of seed {seed}", columns, tuple(_model(results, *one) for one in models), grouped=True)
    whose = [
        f"The teacher of {env_name(env_id)} is `{ZOO_TEACHERS[env_id]}`, trained beforehand and the same for every seed; "
        "`phr reproduce --from-scratch` trains one for each."
        for env_id in profile.from_zoo
    ]
    return Section(heading="Training and models", paragraphs=whose, figures=figures, tables=[table])


def _model(results: Results, where: str, folder: Path) -> tuple[str, ...]:
    """A model's row, with the hash that tells the same weights again; the weights may be gone: results outlive them."""
    file = folder / MANIFEST
    manifest = Manifest.from_json(read_json(file), str(file))
    place, digest = str(folder.relative_to(results.layout.root)), manifest.files[MODEL][:16]
    return where, manifest.kind, str(manifest.horizon), place, digest
