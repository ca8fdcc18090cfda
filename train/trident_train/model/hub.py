"""Uploads a folder to a model hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

from trident.errors import TridentError

REFUSED = (401, 403)


def upload(folder: Path, repo_id: str, *, private: bool = False) -> str:
    """Upload a folder as one commit, making the repository if it is not there; return the URL of the commit.

    Args:
        folder: What to upload.
        repo_id: OWNER/NAME.
        private: Whether a new repository is private; one that exists stays as it is.

    Raises:
        TridentError: If the hub cannot be reached or refuses.
    """
    api = HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id, folder_path=folder, commit_message="Upload weights, figures and card"
        )
    except (OSError, HTTPError) as error:  # HTTPError is that of whichever HTTP library the hub's client uses
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TridentError(f"the hub at {api.endpoint} did not take {repo_id}: {reason}; {_remedy(error)}") from error
    return str(commit.commit_url)


def _remedy(error: Exception) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return "unset HF_HUB_OFFLINE, or write the folder only (--folder without --to)"
    if isinstance(error, HfHubHTTPError) and error.response.status_code in REFUSED:
        return "log in with 'hf auth login', with a token that may write there"
    return "check the network and HF_ENDPOINT, or write the folder only (--folder without --to) and upload it later"
