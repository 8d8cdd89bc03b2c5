"""Files on Google Drive, where the authors publish theirs, past the page that it shows before large ones."""

from __future__ import annotations

from pathlib import Path

from samwise.errors import UserError, first_line
from samwise.progress import progress

_STALLED = 60.0  # seconds without a byte
_RETRIES = 3


def drive_page(file_id: str) -> str:
    """The address at which a browser shows a file."""
    return f"https://drive.google.com/file/d/{file_id}/view"


def from_drive(file_id: str, target: Path) -> None:
    """Fetches a file, resuming where an earlier attempt stopped; ``target`` appears when it is whole.

    Args:
        file_id: Drive's name for it.
        target: The file to write. What has arrived is kept beside it, as ``<target>........part``.

    Raises:
        UserError: Drive can't be reached or refuses, as it does when a file was fetched too often in a day.
    """
    import gdown
    from gdown.exceptions import DownloadError, FileURLRetrievalError
    from requests import RequestException

    target.parent.mkdir(parents=True, exist_ok=True)
    with progress(desc=target.name, unit="B", unit_scale=True) as bar:

        def show(so_far: int, total: int | None) -> None:
            bar.total = total
            bar.update(so_far - bar.n)

        options = {"quiet": True, "use_cookies": False, "resume": True, "retries": _RETRIES}
        try:
            gdown.download(id=file_id, output=str(target), timeout=_STALLED, progress=show, **options)
        except FileURLRetrievalError as error:
            reason = " ".join(str(error).split()).removeprefix("Failed to retrieve file url: ")
            raise UserError(
                f"Google Drive doesn't give {target.name} now: "
                f"{reason.partition(' You may still be able')[0].rstrip('.')}"
            ) from error
        except (DownloadError, RequestException, OSError) as error:
            kept = sum(part.stat().st_size for part in target.parent.glob(f"{target.name}*.part"))
            goes_on = f"; {kept:,} bytes are kept, and the same command resumes from there" if kept else ""
            raise UserError(
                f"can't fetch {target.name} from Google Drive ({first_line(error)[:160]}){goes_on}"
            ) from error
