"""Files that torch.save wrote, read without executing anything in them."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from samwise.errors import UserError


def load_pickled(path: str | Path) -> dict[str, Any]:
    """Reads a dictionary of tensors and plain values, and of the authors' ``argparse.Namespace``.

    Args:
        path: The file.

    Raises:
        UserError: It is missing, damaged, not a dictionary, or names something that would be executed.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} doesn't exist; name a checkpoint file")
    refuse_web_page(path)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(_refusal(path, str(error))) from error
    except Exception as error:  # damaged files fail in any of a dozen ways
        raise UserError(
            f"{path} isn't a checkpoint of weights: it is damaged, or another kind of file; fetch it again"
        ) from error
    if not isinstance(value, dict):
        raise UserError(
            f"{path} holds a {type(value).__name__}, not a dictionary of weights; is it another file?"
        )
    return value


def refuse_web_page(path: Path) -> None:
    """Refuses a page that a browser saved in place of a file, as Google Drive shows before large downloads.

    Raises:
        UserError: The file is a page.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(256).lstrip().lower()
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from error
    if start.startswith((b"<!doctype html", b"<html")):
        raise UserError(
            f"{path} is a web page, not weights: Google Drive, for one, shows a page before large files; "
            "download it again and confirm there"
        )


def _refusal(path: Path, reason: str) -> str:
    named = re.search(r"GLOBAL ([\w.]*\w)", reason)
    what = f"it names {named.group(1)}" if named else "its pickle holds more than plain weights"
    return (
        f"{path} is refused: {what}, and loading that could run code. Nothing was executed; ask for a file "
        "that holds weights only"
    )
