from __future__ import annotations

import dataclasses
import math
import pickle
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench.errors import BadOption, PluginError
from privbench.options import fields as options
from privbench.options import quoting
from privbench.options.fields import build, component, option, option_infos, options_of, spec


@component
class Sample:
    """One option of each kind that the built-ins use."""

    name: ClassVar[str] = "sample"
    presets: ClassVar[dict[str, dict[str, object]]] = {"paper": {"alpha": 3.0, "count": 7}}

    alpha: float = option(1.0, "a float", ge=0)
    count: int = option(2, "an int", ge=1, le=64)
    limit: int | None = option(None, "an int or none", ge=1)
    flag: bool = option(False, "a switch")
    mode: Literal["online", "offline"] = option("online", "one of two")
    text: str = option("", "a path", keyed=False)
    steps: tuple[float, ...] = option((0.5, 0.75), "several")


@component
class Awkward:
    """Options whose texts could be taken for something else."""

    name: ClassVar[str] = "awkward"

    text: str = option("", "any text")
    perhaps: str | None = option("x", "a text, or none")
    either: int | str = option(0, "a number, or a text")
    texts: tuple[str, ...] = option((), "several texts")


def read(text):
    """Read a component as the command line does."""
    (whole,) = quoting.split(text, r"\+(?=[a-z])")
    name, given = options.read(whole)
    return build({"sample": Sample, "awkward": Awkward}[name], given)


values = st.fixed_dictionaries(
    {},
    optional={
        "alpha": st.floats(min_value=0, allow_nan=False, allow_infinity=False),
        "count": st.integers(1, 64),
        "limit": st.none() | st.integers(1, 10**9),
        "flag": st.booleans(),
        "mode": st.sampled_from(["online", "offline"]),
        "text": st.from_regex(r"[a-z/._0-9 -]{0,12}", fullmatch=True),
        "steps": st.lists(st.floats(0, 1), max_size=4).map(tuple),
    },
)


texts = st.text(st.sampled_from("ab,=:+'\"/ \\n1.e-\n") | st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["none", "None", "1", "1.5", "true", "", "a+b", "''", "run 1, epoch=9.npz", r"C:\data\x.npz"]
)


@given(texts, st.none() | texts, st.integers() | texts, st.lists(texts, max_size=3).map(tuple))
def test_no_text_is_taken_for_anything_else(text, perhaps, either, several):
    made = Awkward(text=text, perhaps=perhaps, either=either, texts=several)
    again = read(spec(made))
    assert again == made
    assert type(again.either) is type(made.either)
    assert spec(again) == spec(made)


@pytest.mark.parametrize("text", ["a+relaxloss", "a,b=c", "it's", "'", "a''b"])
def test_a_chain_keeps_the_texts_of_its_parts(text):
    parts = [Awkward(text=text), Sample(alpha=2.0)]
    assert [read(part) for part in quoting.split("+".join(map(spec, parts)), r"\+(?=[a-z])")] == parts


def test_what_needs_no_quotes_gets_none():
    assert spec(Awkward(text=r"C:\my data\a=b.npz")) == r"awkward:text=C:\my data\a=b.npz"
    assert spec(Awkward(text="run 1, epoch=9.npz")) == "awkward:text='run 1, epoch=9.npz'"
    assert spec(Awkward(perhaps=None)) == "awkward:perhaps=none"
    assert spec(Awkward(perhaps="none")) == "awkward:perhaps='none'"


def test_a_quote_that_does_not_end_is_named():
    with pytest.raises(BadOption, match="does not end; a quote within quotes is doubled"):
        read("awkward:text='a,perhaps=b")


@given(values)
def test_spec_builds_the_component_again(options):
    made = Sample(**options)
    again = read(spec(made))
    assert again == made
    assert spec(again) == spec(made)


@given(values)
def test_options_as_values_build_the_component_again(options):
    made = Sample(**options)
    assert build(Sample, options_of(made)) == made


def test_spec_names_only_what_differs_from_the_default():
    assert spec(Sample()) == "sample"
    assert spec(Sample(alpha=1.5, flag=True)) == "sample:alpha=1.5,flag=true"
    assert spec(Sample(text="data.npz"), keyed_only=True) == "sample"


def test_a_component_is_frozen_keyword_only_hashable_and_picklable():
    made = Sample(alpha=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.alpha = 3
    with pytest.raises(Exception, match=r"(?i)unexpected positional"):
        Sample(2.0)
    assert hash(made) == hash(Sample(alpha=2.0))
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"alhpa": "1"}, r"no option 'alhpa'\. Did you mean 'alpha'\? Options: alpha, count"),
        ({"alpha": "much"}, r"option 'alpha' = 'much': input should be a valid number"),
        ({"alpha": "-1"}, r"option 'alpha' = .*-1.*: input should be greater than or equal to 0"),
        ({"count": "65"}, r"'count' = .*65.*less than or equal to 64"),
        ({"count": "1.5"}, r"'count' = '1\.5'"),
        ({"mode": "onlin"}, r"'mode' = 'onlin': input should be 'online' or 'offline'"),
        ({"flag": "perhaps"}, r"'flag' = 'perhaps'"),
        ({"preset": "papr"}, r"no preset 'papr'\. Did you mean 'paper'\? Presets: paper"),
    ],
)
def test_a_bad_option_is_one_line_that_names_it(given_, message):
    with pytest.raises(BadOption, match=message) as caught:
        build(Sample, given_)
    assert "\n" not in str(caught.value)
    assert "'sample'" in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_option_without_default_is_asked_for_by_name():
    @component
    class Wanting:
        name: ClassVar[str] = "wanting"
        path: str = option(..., "where it lies")

    with pytest.raises(BadOption, match=r"^'wanting' needs the option 'path'"):
        build(Wanting, {})


def test_other_options_are_laid_over_a_preset():
    assert build(Sample, {"preset": "paper"}) == Sample(alpha=3, count=7)
    assert build(Sample, {"count": 9, "preset": "paper"}) == Sample(alpha=3, count=9)


@pytest.mark.parametrize(
    ("text", "steps"), [("60/120/160", (60, 120, 160)), ("0.5", (0.5,)), ("", ()), ("1e-3/1", (0.001, 1))]
)
def test_lists_are_written_with_slashes(text, steps):
    assert build(Sample, {"steps": text}).steps == steps


def test_a_path_with_slashes_stays_text():
    assert build(Sample, {"text": "a/b/c.npz"}).text == "a/b/c.npz"
    assert build(Sample, {"text": "12"}).text == "12"


@pytest.mark.parametrize(("text", "limit"), [("none", None), ("None", None), ("12", 12)])
def test_none_is_written_as_a_word(text, limit):
    assert build(Sample, {"limit": text}).limit == limit


def test_infinity_is_a_float():
    assert math.isinf(build(Sample, {"alpha": "inf"}).alpha)


def test_unkeyed_options_stay_out_of_keys():
    assert "text" in options_of(Sample())
    assert "text" not in options_of(Sample(), keyed_only=True)
    assert options_of(Sample(), keyed_only=True)["steps"] == [0.5, 0.75]


def test_option_infos_say_what_list_shows():
    infos = {info.name: info for info in option_infos(Sample)}
    assert list(infos) == ["alpha", "count", "limit", "flag", "mode", "text", "steps"]
    assert (infos["alpha"].type, infos["alpha"].default, infos["alpha"].range) == ("float", 1.0, ">= 0")
    assert infos["count"].range == ">= 1, <= 64"
    assert (infos["limit"].type, infos["limit"].range) == ("int or none", ">= 1")
    assert (infos["flag"].type, infos["mode"].type, infos["steps"].type) == ("bool", "online|offline", "list")
    assert infos["alpha"].help == "a float"
    assert not infos["text"].keyed


def test_a_component_without_a_name_is_refused():
    with pytest.raises(PluginError, match=r"Nameless needs a class attribute 'name'"):

        @component
        class Nameless:
            pass


def test_a_constraint_that_not_all_types_of_an_option_can_be_held_to_is_the_plugins_fault():
    @component
    class Loose:
        name: ClassVar[str] = "loose"
        a: float | Literal["tune"] = option(1.0, "a number, or what finds one", ge=0)

    assert build(Loose, {"a": "2"}).a == 2
    with pytest.raises(PluginError, match=r"^'loose': .*'ge'.* constrain the one meant: Annotated\[float"):
        build(Loose, {"a": "tune"})
