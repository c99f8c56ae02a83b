"""`phr push MODEL hf:OWNER/NAME`: a model on the Hugging Face hub, with its ONNX file, a card in the hub's form, a film."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import phr
from phr import Evaluation
from phr.envs import Start
from phr.errors import MissingExtraError, PhrError, UnsupportedEnvironmentError, UsageError, first_line
from phr.files import write_text
from phr.manifest import COMPLETE, MANIFEST
from phr.storage import CONFIG, MODEL, Model
from phr.teachers import HubReference, hub_endpoint
from phr_studies.films import SHOWN_SEED, Footage, draw_frame, make_filmed_env, shoot

REPLAY, ONNX, CARD = "replay.mp4", "model.onnx", "README.md"
_EPISODES = 20

Say = Callable[[str], None]


class PushError(PhrError):
    """The hub refused what was sent, or cannot be reached."""


def push(
    reference: str | Path,
    to: str,
    *,
    license: str,
    private: bool = False,
    env_id: str | None = None,
    say: Say = lambda _line: None,
) -> str:
    """Upload a model of phr with everything a reader of its page needs; return the page's address.

    Args:
        reference: A run directory or `zoo:NAME`.
        to: `hf:OWNER/NAME`; the repository is made if it is not there.
        license: The licence under which it may be used, by the hub's name, like `mit`.
        private: Make a new repository private.
        env_id: Where to evaluate and film; the model's own environment by default.
        say: Called with what happens, one line at a time.

    Raises:
        MissingExtraError: Without the extra `hub`.
        UsageError: If `to` names a revision or a file, or the licence is empty.
        PushError: If the hub refuses it or cannot be reached; nothing is uploaded by halves.
    """
    target = HubReference.parse(to)
    if target.revision or target.file:
        raise UsageError(f"a model is pushed to a repository, hf:OWNER/NAME, not to {to}")
    if not license.strip():
        raise UsageError("a published model needs a licence: --license mit, or another name of the hub's")
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError as error:
        raise MissingExtraError("phr push needs huggingface_hub; pip install 'phr[hub]'") from error
    model = phr.load(reference)
    if (directory := model.directory) is None:
        raise UsageError(f"{reference} is not in a folder")
    model = replace(model, manifest=replace(model.manifest, env_id=model.where(env_id, str(reference))))
    with tempfile.TemporaryDirectory(prefix="phr-push-") as name:
        folder = Path(name)
        for file in (MODEL, MANIFEST, COMPLETE, CONFIG):
            if (directory / file).exists():
                shutil.copyfile(directory / file, folder / file)
        phr.export_onnx(reference, folder / ONNX, env_id=env_id)
        result = phr.evaluate(reference, env_id=env_id, episodes=_EPISODES, runs=1, bound=False)
        is_filmed = _film(model, folder / REPLAY, say)
        write_text(folder / CARD, card(model, result, target, license, is_filmed=is_filmed))
        api = HfApi(endpoint=hub_endpoint(), library_name="phr", library_version=phr.__version__)
        try:
            api.create_repo(target.repository, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=target.repository, folder_path=folder, commit_message=f"{target.name}, by phr {phr.__version__}"
            )
        except Exception as error:  # huggingface_hub's own, and those of its HTTP library
            raise PushError(f"{to} was not uploaded: {type(error).__name__}, {first_line(error)[:200]}") from error
    say(f"uploaded as {HubReference(target.owner, target.name, commit.oid)}")
    return str(commit.repo_url)


def card(model: Model, result: Evaluation, target: HubReference, license: str, *, is_filmed: bool) -> str:
    """Return the card: the hub's fields with the mean return, then what the model is and how to use it."""
    from huggingface_hub import EvalResult, ModelCardData

    returns = np.array([each for run in result.runs for each in run.returns])
    score = f"{returns.mean():.2f} +/- {returns.std():.2f}"
    data = ModelCardData(
        model_name=target.name,
        library_name="phr",
        license=license,
        tags=["reinforcement-learning", "policy-horizon-regression", model.env_id.partition("?")[0]],
        eval_results=[
            EvalResult(
                task_type="reinforcement-learning", task_name="reinforcement-learning", dataset_type=model.env_id,
                dataset_name=model.env_id, metric_type="mean_reward", metric_name="mean_reward", metric_value=score,
            )
        ],
    )  # fmt: skip
    notes = model.manifest.notes
    tuned = notes.get("tuned") or {}
    lines = [
        "---",
        data.to_yaml(),
        "---",
        "",
        f"# {target.name}",
        "",
        f"A policy for `{model.env_id}` that predicts {model.horizon} actions from one look; phr {phr.__version__}.",
        "",
        f"- Return in {len(returns)} episodes: {score}, {result.to_json()['evaluations_per_step']:.3f} evaluations per step",
        *([f"- {tuned['verdict']}"] if tuned.get("verdict") else []),
        *([f"- Teacher: `{notes['teacher']}`"] if notes.get("teacher") else []),
        *([f"- Film: [{REPLAY}]({REPLAY})"] if is_filmed else []),
        "",
        "```python",
        "import phr",
        "",
        f'model = phr.load("hf:{target.repository}")',
        "print(phr.evaluate(model, episodes=10, runs=1))",
        "```",
        "",
        f"`{ONNX}` runs without torch, with numpy, onnxruntime and msgspec: `phr.acting.runtime.load_runtime`.",
        "",
    ]
    return "\n".join(lines)


def _film(model: Model, file: Path, say: Say) -> bool:
    """Film one episode, where the environment can be filmed; return whether it was."""
    try:
        with closing(make_filmed_env(model.env_id)) as env:
            footage = shoot(model.planner, env, Start(SHOWN_SEED))
    except UnsupportedEnvironmentError as error:
        say(f"no film: {error}")
        return False
    write_mp4(footage, file)
    return True


def write_mp4(footage: Footage, file: Path) -> None:
    """Write footage as MP4 (H.264), one frame per step; MissingExtraError without imageio-ffmpeg."""
    try:
        from imageio_ffmpeg import write_frames
    except ModuleNotFoundError as error:
        raise MissingExtraError("films as MP4 need imageio_ffmpeg; pip install 'phr[hub]'") from error
    pictures = [np.asarray(draw_frame(footage, step)) for step in range(len(footage.looked) + 1)]
    height, width = (side - side % 2 for side in pictures[0].shape[:2])  # the codec halves both
    writer: Any = write_frames(str(file), (width, height), fps=footage.steps_per_second, macro_block_size=2, quality=7)
    writer.send(None)
    for picture in pictures:
        writer.send(np.ascontiguousarray(picture[:height, :width]))
    writer.close()
