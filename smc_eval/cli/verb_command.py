"""The form of a verb's help."""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.core import TyperCommand


class VerbCommand(TyperCommand):
    """A verb whose help leaves out the Python types of arguments."""

    def format_options(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Write the arguments and the options, each in a section."""
        for title, kind in (("Arguments", "argument"), ("Options", "option")):
            records = [p.get_help_record(ctx) for p in self.get_params(ctx) if p.param_type_name == kind]
            rows = [(re.sub(r" <.*>$", "", name), text) for name, text in filter(None, records)]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
