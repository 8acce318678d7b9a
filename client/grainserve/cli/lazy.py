"""A group of commands that imports a command's module when the command is used, not to list it."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class Listed(NamedTuple):
    """A command as the group's help lists it.

    Attributes:
        module: name of the module whose `add_to` adds the command to an application.
        summary: first paragraph of the command's own help.
        panel: panel of the group's help; None: the panel of all other commands.
    """

    module: str
    summary: str
    panel: str | None = None

    def load(self, name: str) -> Any:
        """Imports the module and returns its command of this name."""
        application = typer.Typer(rich_markup_mode="rich")
        import_module(self.module).add_to(application)
        return typer.main.get_group(application).commands[name]


class LazyGroup(TyperGroup):
    """A group that lists commands by their summaries, and loads the one that is called or whose help is asked for."""

    listed: ClassVar[dict[str, Listed]] = {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, each in self.listed.items():
            self.add_command(TyperCommand(name, help=each.summary, rich_help_panel=each.panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Returns the name, the loaded command and its arguments, and leaves these in `ctx.obj` for the callback."""
        name, command, rest = super().resolve_command(ctx, args)
        ctx.obj = rest
        return name, command and self.listed[str(name)].load(str(name)), rest
