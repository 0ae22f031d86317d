"""The option that says which archive is read: a folder, or an address in object storage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recorder.object_store import located

PlaceOption = Annotated[
    Path,
    typer.Option(
        "--data",
        parser=located,
        metavar="PLACE",
        help="The archive's folder, or the address of a copy, s3://bucket/prefix.",
    ),
]
