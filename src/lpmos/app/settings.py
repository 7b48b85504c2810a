"""The settings of a part, put together from flags, environment, file and defaults.

A value is taken from the first of: flag, environment, file, default. Unknown keys are refused, and
all that is wrong is reported together. Secrets are never settings; settings name their files.
"""

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lpmos.app.settings_table import TABLE, Setting
from lpmos.model.errors import InvalidInput, SettingsError

DEFAULT_FILE = Path("/etc/lpmos/lpmos.toml")
BY_NAME = {setting.name: setting for setting in TABLE}


class Settings:
    """The values of one part's settings, each as an attribute by its name in `TABLE`."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(name) from None

    def with_default(self, name: str, value: object) -> "Settings":
        """The same settings, with `value` where `name` was not given."""
        given = self._values.get(name)
        return Settings({**self._values, name: value if given is None else given})


def for_part(part: str) -> list[Setting]:
    """The rows that a part takes."""
    return [setting for setting in TABLE if part in setting.parts]


def load(
    part: str,
    flags: Mapping[str, str | None],
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Put the settings of `part` together.

    Args:
        part: one of `PARTS`.
        flags: what the command line gave, by name; None where a flag was not given.
        environment: the process's where None.
        file: TOML; a file that is named must exist, `DEFAULT_FILE` need not.

    Raises:
        SettingsError: lists every wrong or unknown value with where it came from.
    """
    environment = os.environ if environment is None else environment
    problems: list[str] = []
    from_file = _read_file(file, problems)
    values: dict[str, Any] = {}
    for setting in for_part(part):
        source, text = _first(setting, flags, environment, from_file)
        values[setting.name] = setting.default
        if text is None:
            continue
        try:
            values[setting.name] = setting.parse(text)
        except (ValueError, InvalidInput) as error:
            problems.append(f"{source}: {text!r} is refused: {error}")
    if problems:
        raise SettingsError("; ".join(problems))
    return Settings(values)


def _first(
    setting: Setting,
    flags: Mapping[str, str | None],
    environment: Mapping[str, str],
    from_file: Mapping[str, str],
) -> tuple[str, str | None]:
    """Where the value comes from, and its text."""
    if (text := flags.get(setting.name)) is not None:
        return setting.flags[0], text
    for variable in setting.variables:
        if variable in environment:
            return variable, environment[variable]
    return f"{setting.name} in the file", from_file.get(setting.name)


def _read_file(file: Path | None, problems: list[str]) -> dict[str, str]:
    path = file or DEFAULT_FILE
    if file is None and not path.exists():
        return {}
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        problems.append(f"{path}: {error}")
        return {}
    problems += [f"{path}: {name!r} is no setting" for name in table if name not in BY_NAME]
    return {name: _text_of(value) for name, value in table.items()}


def _text_of(value: Any) -> str:
    """A value of the file as a flag would give it; tables become JSON, `true` is `yes`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, list):
        return str(value)
    if value and all(isinstance(each, dict) for each in value):
        return json.dumps(value, default=str)
    return ",".join(map(str, value))


def reference() -> str:
    """The table as the documentation shows it (`docs/reference/settings.md`)."""
    lines = [
        "# Settings",
        "",
        "A value is taken from the first of: flag, environment variable, file"
        f" (`--config`, else `{DEFAULT_FILE}`), default. The file is TOML, one key for each",
        "setting; unknown keys are refused. This page is generated from the one table in the code.",
        "",
        "| key | flags | environment | default | parts | what it is |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(setting) for setting in TABLE]
    return "\n".join(lines) + "\n"


def _row(setting: Setting) -> str:
    def code(names: Sequence[str]) -> str:
        return ", ".join(f"`{name}`" for name in names)

    default = setting.default
    text = ",".join(default) if isinstance(default, tuple) else default
    if isinstance(text, bool):
        text = _text_of(text)
    cells = (
        f"`{setting.name}`",
        code(setting.flags),
        code(setting.variables),
        f"`{text}`" if text not in (None, "") else "",
        ", ".join(setting.parts),
        setting.help,
    )
    return f"| {' | '.join(cells)} |"
