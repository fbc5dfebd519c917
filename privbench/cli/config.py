"""Configuration file: the options of a command in TOML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from privbench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

NOT_IN_A_FILE = {"config", "dry_run"}


def with_config(ctx: click.Context, options: Mapping[str, Any], lists: Container[str]) -> dict[str, Any]:
    """Merge the options of the file `options["config"]` with those of the command line, which take precedence.

    Options in `lists` hold one or several names. Raises UsageError, naming the file, for invalid TOML, an unknown
    option, and an invalid value.
    """
    from privbench.store.reading import toml_of

    file, merged = options["config"], dict(options)
    known = {option.name: option for option in ctx.command.params if option.name not in NOT_IN_A_FILE}
    for key, value in toml_of(file).items():
        name = key.replace("-", "_")
        if name not in known:
            spelled = sorted(name.replace("_", "-") for name in known if name)
            hint, listing = did_you_mean(name.replace("_", "-"), spelled), ", ".join(spelled)
            raise UsageError(f"{file}: no option {key!r}.{hint} Options: {listing}.")
        if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE:
            continue
        try:
            text = _names(value) if name in lists else str(value)
            merged[name] = known[name].type_cast_value(ctx, text)
        except click.BadParameter as error:
            raise UsageError(f"{file}: {key}: {error.message}") from None
    return merged


def _names(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) for each in values):
        raise click.BadParameter(f"{value!r} is neither a name nor a list of names.")
    return values
