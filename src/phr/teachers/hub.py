"""Models and policies of the Hugging Face hub: `hf:OWNER/NAME`, `hf:OWNER/NAME@REVISION/FILE`.

`huggingface_hub` downloads into its own cache (`HF_HOME`), and reads it alone where `HF_HUB_OFFLINE=1` is set or there is no
network. What is downloaded is read like any file of a stranger.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from phr.errors import MissingExtraError, UnknownModelError, UsageError

HUB_PREFIX = "hf:"
_NAME = r"[A-Za-z0-9][\w.-]*"
_REFERENCE = re.compile(rf"hf:(?P<owner>{_NAME})/(?P<name>{_NAME})(?:@(?P<revision>[\w.-]+))?(?:/(?P<file>.+))?")
_SETTINGS = ("*.yml", "*.json", "*.npz", "*.pkl", "COMPLETE")
_POLICIES = ("*.zip", "*.safetensors", "*.onnx", "*.pt", "*.pth", "*.ckpt", "*.cleanrl_model")
_NOT_NEEDED = ("*/policy.pth", "*/policy.optimizer.pth", "*/pytorch_variables.pth", "train_eval_metrics.zip")
"""Parts of a Stable-Baselines3 `.zip` that lie unpacked beside it, and tables of its training."""


@dataclass(frozen=True)
class HubReference:
    """A repository, a revision of it (a commit, a branch or a tag; None is the newest), and a file or folder in it."""

    owner: str
    name: str
    revision: str | None = None
    file: str = ""

    @classmethod
    def parse(cls, text: str) -> HubReference:
        """Read `hf:OWNER/NAME[@REVISION][/FILE]`; UsageError if it is anything else."""
        found = _REFERENCE.fullmatch(text)
        file = "" if found is None else found["file"] or ""
        if found is None or ".." in PurePosixPath(file).parts or file.startswith("/"):
            raise UsageError(f"{text} must be hf:OWNER/NAME, hf:OWNER/NAME/FILE or hf:OWNER/NAME@REVISION")
        return cls(found["owner"], found["name"], found["revision"], file)

    @property
    def repository(self) -> str:
        """`OWNER/NAME`."""
        return f"{self.owner}/{self.name}"

    def __str__(self) -> str:
        revision, file = (f"@{self.revision}" if self.revision else ""), (f"/{self.file}" if self.file else "")
        return f"{HUB_PREFIX}{self.repository}{revision}{file}"


def endpoint() -> str | None:
    """Return the hub's address, `HF_ENDPOINT`; None is huggingface.co."""
    return os.environ.get("HF_ENDPOINT") or None


def download(text: str) -> tuple[Path, str]:
    """Return where the files of a reference are on this machine, and the reference with its commit pinned.

    UnknownModelError if there is no such repository, revision or file, or it cannot be reached and is not in the cache;
    MissingExtraError without `huggingface_hub`.
    """
    wanted = HubReference.parse(text)
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{text} needs huggingface_hub; pip install 'phr[hub]'") from error
    disable_progress_bars()
    patterns = [*_SETTINGS, *(_POLICIES if not wanted.file else (wanted.file, f"{wanted.file}/*"))]
    try:
        folder = Path(
            snapshot_download(
                wanted.repository, revision=wanted.revision, allow_patterns=patterns, ignore_patterns=list(_NOT_NEEDED),
                endpoint=endpoint(),
            )
        )  # fmt: skip
    except Exception as error:  # its own, and those of its HTTP library
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if not line.startswith(("(Request ID", "For more information"))), "")
        raise UnknownModelError(f"{text} cannot be downloaded: {type(error).__name__}, {reason[:200]}") from error
    path = folder / wanted.file
    if not path.exists():
        held = ", ".join(sorted(each.name for each in folder.iterdir())) or "nothing that phr reads"
        raise UnknownModelError(f"{wanted.repository} has no {wanted.file}; it holds {held}")
    return path, str(replace(wanted, revision=folder.name))
