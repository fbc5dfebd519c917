"""Components: frozen dataclasses whose fields are their options.

The options of a component define its command-line syntax, cache key, record and entry in `privbench list NAME`; they
are not declared anywhere else. pydantic checks types and ranges.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass, is_pydantic_dataclass
from typing_extensions import dataclass_transform

from privbench.errors import BadOption, PluginError, did_you_mean
from privbench.options import quoting
from privbench.options.about import about

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

C = TypeVar("C")


def option(default: Any, help: str, *, keyed: bool = True, **constraints: Any) -> Any:  # noqa: A002
    """Declare one option of a component.

    help: shown by `privbench list`
    constraints: pydantic's (`ge`, `gt`, `le`, `lt`, `pattern`, ...)
    keyed: False for options that cannot change a result, such as the location of a file: excluded from cache keys
    """
    return Field(default, description=help, kw_only=True, json_schema_extra={"keyed": keyed}, **constraints)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def component(cls: type[C]) -> type[C]:
    """Make a class a component: a frozen, keyword-only, validated dataclass with a `name`."""
    if not isinstance(getattr(cls, "name", None), str):
        raise PluginError(f"component {cls.__module__}.{cls.__qualname__} needs a class attribute 'name' (a string).")
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    made: Any = dataclass(frozen=True, kw_only=True, config=config)(cls)
    return cast("type[C]", made)


@dataclasses.dataclass(frozen=True)
class OptionInfo:
    """One option, as shown by `privbench list NAME`."""

    name: str
    type: str
    default: Any
    range: str
    help: str
    keyed: bool


def option_infos(cls: type) -> tuple[OptionInfo, ...]:
    """Return the options of a component class, in the order of their declaration."""
    return _option_infos(cls)


@functools.lru_cache(maxsize=256)
def _option_infos(cls: type) -> tuple[OptionInfo, ...]:
    properties = TypeAdapter(cls).json_schema().get("properties", {})
    infos = []
    for name, field in _fields(cls).items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, Mapping) else {}
        infos.append(
            OptionInfo(
                name=name,
                type=_type_text(properties.get(name, {})),
                default=field.get_default(call_default_factory=True),
                range=_range_text(properties.get(name, {})),
                help=field.description or "",
                keyed=bool(extra.get("keyed", True)),
            )
        )
    return tuple(infos)


def required_options(cls: type) -> list[str]:
    """Return the options of a component class that have no default."""
    return [name for name, field in _fields(cls).items() if field.is_required()]


def options_of(component: object, *, keyed_only: bool = False) -> dict[str, Any]:
    """Return a component's options and their values, JSON-compatible, in the order of their declaration."""
    infos = [info for info in option_infos(type(component)) if info.keyed or not keyed_only]
    values = {info.name: getattr(component, info.name) for info in infos}
    return {
        name: spec(value, keyed_only=keyed_only) if is_component(value) else plain(value)
        for name, value in values.items()
    }


def build(cls: type[C], options: Mapping[str, Any]) -> C:
    """Build a component from options given as text (from the command line) or as values (from TOML).

    The option `preset` names an entry of the class attribute `presets`; other options override it.
    Raises BadOption, in one line, for an unknown option, a wrong type, or a value out of range.
    """
    name, known = cls.name, _fields(cls)  # type: ignore[attr-defined]
    given = dict(options)
    values: dict[str, Any] = {}
    if "preset" in given and "preset" not in known:
        values.update(_preset(cls, str(given.pop("preset"))))
    for key, value in given.items():
        if key not in known:
            listing = ", ".join(known) or "none"
            raise BadOption(f"{name!r} has no option {key!r}.{did_you_mean(key, known)} Options: {listing}.")
        values[key] = _coerce(cls, key, value)
    try:
        return cls(**values)
    except ValidationError as error:
        raise BadOption(_first_problem(name, error)) from None
    except TypeError as error:  # pydantic's, for a constraint on a union that does not apply to all of its types
        raise PluginError(
            f"{name!r}: {error}; of an option of several types, constrain the one meant: Annotated[float, Field(ge=0)]."
        ) from None


def read(text: str, hint: Callable[[str, str, str], str] = lambda *_: "") -> tuple[str, dict[str, str]]:
    """Return the name and the options of a component from a text such as "lira:queries=2", as written by `spec`.

    hint: (name, the unreadable part, all options) -> a sentence after a space, or an empty text

    Raises BadOption for an invalid text.
    """
    name, _, rest = text.strip().partition(":")
    found = {}
    for part in filter(None, quoting.split(rest, ",")):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise BadOption(
                f"Cannot read {part!r} in {text!r}: options are written name:option=value,option='a value, quoted'."
                f"{hint(name, part, rest)}"
            )
        found[key.strip().replace("-", "_")] = value.strip()
    return name, found


class Composite(abc.ABC):
    """A composition of components, such as a chain of defenses."""

    parts: tuple[Any, ...]
    """The components in it."""

    @abc.abstractmethod
    def cache_key(self, key_of: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Return its cache key, given the key of a component (`privbench.store.fingerprint`)."""

    @property
    @abc.abstractmethod
    def named(self) -> tuple[Any, ...]:
        """The components named in its text, joined by `+`."""


def parts_of(component: object) -> tuple[Any, ...]:
    """Return the components in a composition; for a component, itself."""
    return component.parts if isinstance(component, Composite) else (component,)


def is_component(value: object) -> bool:
    """Return whether a value, such as one of an option, is a component or a composition of components."""
    return isinstance(value, Composite) or is_pydantic_dataclass(type(value))


def spec(component: object, *, keyed_only: bool = False) -> str:
    """Return the shortest text from which the component can be rebuilt: 'relaxloss:alpha=1.5'."""
    if isinstance(component, Composite):
        return "+".join(spec(part, keyed_only=keyed_only) for part in component.named)
    parts = [
        f"{info.name}={_text(type(component), info.name, getattr(component, info.name), keyed_only=keyed_only)}"
        for info in option_infos(type(component))
        if getattr(component, info.name) != info.default and (info.keyed or not keyed_only)
    ]
    return component.name + (":" + ",".join(parts) if parts else "")  # type: ignore[attr-defined, no-any-return]


def _fields(cls: type) -> dict[str, Any]:
    return getattr(cls, "__pydantic_fields__", {})


def _preset(cls: type, preset: str) -> Mapping[str, Any]:
    presets = about(cls).presets
    if preset not in presets:
        listing = ", ".join(presets) or "none"
        raise BadOption(
            f"{cls.name!r} has no preset {preset!r}.{did_you_mean(preset, presets)} "  # type: ignore[attr-defined]
            f"Presets: {listing}."
        )
    return presets[preset]


def _coerce(cls: type, key: str, value: Any) -> Any:
    """Return the first reading of a text that the option's type accepts, or the text, for the error message."""
    if not isinstance(value, str):
        return tuple(value) if isinstance(value, list) else value
    adapter = _adapter(cls, key)
    for reading in _readings(value):
        try:
            adapter.validate_python(reading)
        except ValidationError:
            continue
        return reading
    return quoting.unquoted(value)


@functools.lru_cache(maxsize=1024)
def _adapter(cls: type, key: str) -> TypeAdapter[Any]:
    return TypeAdapter(_fields(cls)[key].annotation)


def _readings(text: str) -> Iterator[Any]:
    """Yield the possible values of a text, the likeliest first: 'none', '2', '60/120/160'; quoted ones are texts."""
    plain, text = not quoting.is_quoted(text), quoting.unquoted(text)
    if plain and text.lower() == "none":
        yield None
    if plain:
        yield _number(text)
    yield text
    parts = quoting.split(text, "/") if text else []
    yield tuple(map(quoting.unquoted, parts))
    yield tuple(map(_number, parts))


def _number(text: str) -> Any:
    """Read '2' or '2.0' as a number, 'none' as None."""
    if text.lower() == "none":
        return None
    with contextlib.suppress(ValueError):
        return float(text) if set(text) & set(".einf") else int(text)
    return text


def _text(cls: type, key: str, value: Any, *, keyed_only: bool = False) -> str:
    """Return the text of a value: quoted if it would otherwise be read as another one."""
    named = is_component(value)
    text = spec(value, keyed_only=keyed_only) if named else _written(value)
    if not quoting.is_plain(text):
        return quoting.quoted(text)
    if named:
        return text
    try:
        read = _adapter(cls, key).validate_python(_coerce(cls, key, text))
    except ValidationError:  # an invalid value, which only code can set
        return text
    return text if read == value and type(read) is type(value) else quoting.quoted(text)


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        parts = map(_written, value)
        return "/".join(part if quoting.is_plain(part) and "/" not in part else quoting.quoted(part) for part in parts)
    return str(value)


def plain(value: Any) -> Any:
    """Return an option's value for JSON: tuples as lists, infinity as text."""
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    return [plain(v) for v in value] if isinstance(value, (tuple, list)) else value


def _first_problem(name: str, error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"][:1])
    what = problem["msg"].removeprefix("Value error, ").rstrip(".")
    if problem["type"] == "missing":
        return f"{name!r} needs the option {where!r}, which has no default."
    if not where:
        return f"{name!r}: {what}."
    return f"{name!r}: option {where!r} = {problem['input']!r}: {what[0].lower()}{what[1:]}."


def _type_text(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type_text(part) for part in schema["anyOf"])
    if "enum" in schema:
        return "|".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    names = {"number": "float", "integer": "int", "boolean": "bool", "string": "text", "array": "list", "null": "none"}
    return names.get(str(schema.get("type", "")), str(schema.get("type", "any")))


def _range_text(schema: Mapping[str, Any]) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    parts = [schema, *schema.get("anyOf", [])]
    return ", ".join(f"{sign} {part[key]:g}" for part in parts for key, sign in signs.items() if key in part)
