"""Push: an exported folder as a repository of the Hugging Face hub, through huggingface_hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smc_eval.errors import UsageError, first_line

OWN_FILES = frozenset({".gitattributes"})
"""Files that the hub itself puts into a new repository."""


class PushFailed(UsageError):
    """The folder was written, and could not be pushed."""


def check_repo(repo: str) -> None:
    """Refuse, before anything is computed, a repository that cannot take a folder.

    Raises:
        UsageError: its name is none, it holds files, nobody is logged in, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi, errors, get_token
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except errors.HFValidationError as error:
        raise UsageError(f"--push {repo!r} is no name of a repository: {first_line(error)}") from None
    if not get_token():
        raise UsageError(f"--push {repo}: nobody is logged in to the hub; log in with: hf auth login")
    with _readable(f"--push {repo}", UsageError):
        try:
            info: Any = HfApi().repo_info(repo)
        except errors.RepositoryNotFoundError:
            return
    files = sorted({entry.rfilename for entry in info.siblings or ()} - OWN_FILES)
    if files:
        raise UsageError(
            f"--push {repo}: the repository exists and holds {files[0]!r}; give a new name, or an empty one"
        )


def push(folder: Path, repo: str, message: str) -> str:
    """Upload every file of a folder in one commit; a new repository is private. Returns its address.

    Raises:
        PushFailed: it could not be uploaded.
    """
    from huggingface_hub import HfApi

    api: Any = HfApi()
    with _readable(f"{folder} was written, and not pushed to {repo}", PushFailed):
        address = str(api.create_repo(repo, private=True, exist_ok=True))
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message)
    return address


@contextmanager
def _readable(what: str, kind: type[UsageError]) -> Iterator[None]:
    """Turn errors of the hub and of the network into one of ours."""
    from huggingface_hub import errors

    try:
        yield
    except errors.RepositoryNotFoundError:
        raise  # the caller knows what it means
    except errors.OfflineModeIsEnabled:
        raise kind(f"{what}: HF_HUB_OFFLINE is set") from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        reason = (
            "the hub refuses it; check your token's rights" if status in {401, 403} else first_line(error)
        )
        raise kind(f"{what}: {reason}{_again(kind)}") from None
    except Exception as error:  # noqa: BLE001  the client of the hub raises those of its HTTP library
        raise kind(f"{what}: the hub cannot be reached: {first_line(error)}{_again(kind)}") from None


def _again(kind: type[UsageError]) -> str:
    return "\ntry again with: hf upload REPO DIR" if kind is PushFailed else ""
