from __future__ import annotations

from phr_studies.bench.grids import OURS, WAYS, GridSettings, measure, tables, time_steps
from phr_studies.bench.rounds import ratio
from phr_studies.report.tables import to_markdown


def test_every_way_plays_the_same_episodes() -> None:
    settings = GridSettings(steps=700)
    actions = [2, 2, 1, 2, 0, 2, 2] * 100
    counts = {name: time_steps(make(settings.env_id), actions, 0)["episodes"] for name, make in WAYS.items()}
    assert len(set(counts.values())) == 1, counts
    assert counts[OURS] > 2


def test_all_actions_are_taken_and_an_ended_episode_begins_anew() -> None:
    resets: list[int] = []
    left = [0]

    def reset(seed: int) -> None:
        resets.append(seed)
        left[0] = 3

    def step(action: int) -> bool:
        left[0] -= 1
        return left[0] == 0

    found = time_steps((reset, step), [0] * 7, seed=10)
    assert (found["steps"], found["episodes"], resets) == (7, 3, [10, 11, 12])


def test_the_section_compares_with_our_own_step() -> None:
    values = measure(GridSettings(rounds=2, steps=20))
    by_name = {each["name"]: each for each in values["steppers"]}
    assert by_name[OURS]["ratio"]["rounds"] == [1.0, 1.0]
    wrapped = by_name["FullyObsWrapper"]
    assert wrapped["ratio"] == ratio(wrapped["step_us"], by_name[OURS]["step_us"])
    assert "FullyObsWrapper" in to_markdown(tables(values)[0])
