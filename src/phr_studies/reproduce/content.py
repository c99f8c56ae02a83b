"""The report of a finished study: which figures, tables and words, from its results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phr.files import read_json, write_text
from phr.manifest import MANIFEST, Manifest
from phr_studies.films import film_figure
from phr_studies.report.figures import curve, figure4, figure5
from phr_studies.report.names import env_name, series_name
from phr_studies.report.numbers import counted, number, percent, times
from phr_studies.report.page import PageFigure, ReportContent, Section, write_page
from phr_studies.report.points import TEACHER, Point, describe_intervals, find
from phr_studies.report.tables import Column, Table, to_markdown
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
    content = ReportContent(
        title="Policy Horizon Regression: figures 4 and 5",
        summary=f"{_still_to_come(results.profile, planned)}{_summary(results, points)}",
        command=command,
        machine=_machine(results),
        highlights=_highlights(results, points),
        sections=_sections(results, points, tables),
    )
    return write_page(content, directory / PAGE)


def _still_to_come(done: Profile, planned: Profile) -> str:
    """A sentence for the study of which some training seeds are still to come."""
    if len(done.seeds) == len(planned.seeds):
        return ""
    return f"Unfinished: {len(done.seeds)} of {len(planned.seeds)} training seeds so far; the same command goes on. "


def _summary(results: Results, points: Sequence[Point]) -> str:
    loss, largest = results.profile.losses[0], results.profile.max_horizon
    parts = []
    for env_id in results.profile.env_ids:
        teacher, student = find(points, env_id, TEACHER, 1), find(points, env_id, loss, largest)
        if teacher is None or student is None:
            continue
        factor = teacher.seconds_per_100k_steps / student.seconds_per_100k_steps
        parts.append(
            f"in {env_name(env_id)} a student that looks once every {largest} actions "
            f"returns {number(student.return_mean)} (teacher: {number(teacher.return_mean)}) "
            f"and needs {times(factor)} less time"
        )
    return (
        "A teacher is trained by A2C, then distilled into students that predict several actions from one look. "
        "Measured here: "
        + "; ".join(parts)
        + ". The paper reports that time is at least halved while policy quality is kept."
    )


def _highlights(results: Results, points: Sequence[Point]) -> list[tuple[str, str]]:
    loss, cards = results.profile.losses[0], []
    for env_id in results.profile.env_ids:
        teacher = find(points, env_id, TEACHER, 1)
        for n in (4, results.profile.max_horizon):
            student = find(points, env_id, loss, n)
            if teacher is not None and student is not None and n in results.profile.horizons:
                speed_up = times(teacher.seconds_per_100k_steps / student.seconds_per_100k_steps)
                cards.append((speed_up, f"faster at n = {n}, {env_name(env_id)}"))
        cards.append(_kept(results, env_id))
    return cards


def _kept(results: Results, env_id: str) -> tuple[str, str]:
    """What the largest n keeps: starts solved on a grid, return in a game."""
    largest = results.profile.max_horizon
    reached = results.starts(env_id, results.profile.losses[0], largest)
    if is_grid(env_id):
        share = sum(one["n_solved"] for one in reached) / sum(one["n_starts"] for one in reached)
        return percent(share), f"of all starts solved at n = {largest}, {env_name(env_id)}"
    mean = sum(one["return_mean"] for one in reached) / len(reached)
    return number(mean, 1), f"return at n = {largest} over all starts, {env_name(env_id)}"


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
    figure = figure4(points, layout.figure("figure-4"))
    caption = (
        "Score per second (top, higher is better) and seconds per 100,000 steps (bottom, lower is better) over n. "
        f"Optimum: {_optimum_of(results)}, in the time of the {series_name(profile.losses[0])} student; who was faster by "
        f"chance may stand above it. {describe_intervals(points)}"
    ).rstrip()
    sections = [
        Section(
            heading="Figure 4: throughput and time",
            paragraphs=[_protocol(results)],
            figures=[PageFigure(figure, caption, wide=True)],
            tables=tables.timed,
        ),
        Section(
            heading="Every start once",
            paragraphs=["What the policies reach when luck and the clock are taken out.", *_loss_notes(results)],
            tables=tables.starts,
        ),
    ]
    if tables.jitter:
        sections.append(Section(heading="Jitter", paragraphs=[_JITTER], tables=tables.jitter))
    for env_id in profile.env_ids:
        if is_grid(env_id):
            sections.append(_path_section(results, env_id))
    sections += [_film_section(results, env_id) for env_id in profile.env_ids]
    if profile.ablations:
        sections.append(
            Section(
                heading="Ablations",
                paragraphs=["One student of the largest horizon per setting and training seed, all else as by default."],
                tables=tables.ablations,
            )
        )
    sections.append(_training_section(results))
    return sections


def _optimum_of(results: Results) -> str:
    env_ids = results.profile.env_ids
    kinds = {"a shortest path": any(map(is_grid, env_ids)), "a perfect game": not all(map(is_grid, env_ids))}
    return " or ".join(kind for kind, shown in kinds.items() if shown)


def _protocol(results: Results) -> str:
    profile = results.profile
    if profile.one_student:
        students = f"one student of horizon {profile.max_horizon} for each loss, executed n actions at a time"
    else:
        students = "a student of its own for every n and loss, as in the paper"
    return (
        f"{students[0].upper()}{students[1:]}. n = 1 is the teacher. One environment, one thread, batch size 1; "
        "policies alternate within a round, so that a change of the machine's speed meets all of them alike. "
        "Observations that nobody looks at are never computed."
    )


def _loss_notes(results: Results) -> list[str]:
    return [f"`{loss}` {NOTES[loss]}" for loss in results.profile.losses if loss in NOTES]


def _path_section(results: Results, env_id: str) -> Section:
    figures = []
    for n in results.profile.horizons:
        path = results.path(env_id, n)
        picture = figure5(path, results.layout.figure(f"figure-5-{env_id}-n{n}"))
        looks = counted(path.evaluations, "evaluation")
        outcome = "reached the goal" if path.solved else "did not reach the goal"
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
    seed = results.profile.seeds[0]
    figures = [figure for env_id in results.profile.env_ids for figure in _training_curves(results, env_id, seed)]
    rows = [row for env_id in results.profile.env_ids for row in _models(results, env_id, seed)]
    columns = (
        Column("environment"),
        Column("kind"),
        Column("horizon", "number"),
        Column("folder", "code"),
        Column("SHA-256", "code"),
    )
    table = Table(f"Models of seed {seed}", columns, tuple(rows), grouped=True)
    return Section(heading="Training and models", paragraphs=_whose_teachers(results), figures=figures, tables=[table])


def _whose_teachers(results: Results) -> list[str]:
    """Which teachers this study did not train itself."""
    return [
        f"The teacher of {env_name(env_id)} is `{ZOO_TEACHERS[env_id]}`, trained beforehand and the same for every seed; "
        "`phr reproduce --from-scratch` trains one for each."
        for env_id in results.profile.from_zoo
    ]


def _training_curves(results: Results, env_id: str, seed: int) -> list[PageFigure]:
    """Stage 1's curve; none where a training was too short for one row of metrics."""
    rows = results.metrics(results.layout.teacher(env_id, seed))
    if not rows:
        return []
    picture = curve(
        rows,
        results.layout.figure(f"curve-{env_id}"),
        values={"episode_return": "sampled return", "greedy_return": "greedy return"},
        references={"best possible": results.optimum(env_id)["return_mean"]},
    )
    return [PageFigure(picture, f"Stage 1 in {env_name(env_id)}, seed {seed}: return of recent training episodes.")]


def _models(results: Results, env_id: str, seed: int) -> list[tuple[str, ...]]:
    """A row for the teacher and each student of a seed, with the hash that tells the same weights again."""
    profile, layout = results.profile, results.layout
    folders = [layout.teacher(env_id, seed)]
    folders += [layout.student(env_id, loss, n, seed) for loss in profile.losses for n in profile.student_horizons]
    rows: list[tuple[str, ...]] = []
    for folder in folders:
        file = folder / MANIFEST
        manifest = Manifest.from_json(read_json(file), str(file))  # the weights may be gone: results outlive them
        place, digest = str(folder.relative_to(layout.root)), manifest.files["model.safetensors"][:16]
        rows.append((env_name(env_id), manifest.kind, str(manifest.horizon), place, digest))
    return rows
