"""``recorder config``: the effective configuration and its sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
import yaml

from recorder import config as configuration
from recorder.cli.screen import echo
from recorder.core.safe_text import without_credentials


def config(
    config_file: Annotated[
        Path | None, typer.Option("--config", help="The configuration; config.yaml where there is one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of YAML.")] = False,
    example: Annotated[
        bool,
        typer.Option("--example", help="Print a file of all defaults, with comments, to begin with."),
    ] = False,
) -> None:
    """Check the configuration and print the effective values, as a file that `recorder run --config` accepts.

    A token is left out.
    """
    if example:
        echo(configuration.example().rstrip())
        return
    content = configuration.load(config_file).model_dump(mode="json", exclude={"ops": {"token"}})
    text = json.dumps(content, indent=2) if as_json else yaml.safe_dump(content, sort_keys=False)
    echo(without_credentials(text.rstrip()))
