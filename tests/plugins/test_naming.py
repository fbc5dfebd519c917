"""Names of components: one form, and no word that means something else somewhere."""

from __future__ import annotations

import pytest

from privbench.api import Needs, component
from privbench.errors import PluginError
from privbench.plugins.loading import catalogue
from privbench.plugins.naming import dashed, name_fault
from privbench.plugins.registration import REQUIRED, check, fault

KINDS = list(REQUIRED)


def named(name):
    """An attack class with a name."""
    parts = {"name": name, "__doc__": "For a test.", "needs": Needs(), "score": lambda _self, evidence: evidence.labels}
    return component(type("Mine", (), parts))


@pytest.mark.parametrize("kind", KINDS)
def test_installed_components_are_rightly_named(kind):
    names = catalogue().of(kind)
    assert names
    assert {name: name_fault(name, kind) for name in names} == dict.fromkeys(names, "")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "a",
            "lira",
            "art-mi-face",
            "x1",
            "cifar10",
            "tiny-imagenet",
            "dp-sgd",
            "a" * 64,
            "cuda-cores",
            "com",
            "com10",
        ),
        *("allow", "my-audit", "auditor", "metal", "cpus", "console", "a-1-b"),
    ],
)
def test_other_names_are_right(name):
    assert {name_fault(name, kind) for kind in KINDS} == {""}
    assert fault("attack", named(name)) == ""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "at most 64 characters"),
        ("a" * 65, "at most 64 characters"),
        ("Lira", "such as 'lira'"),
        ("MyAttack", "such as 'my-attack'"),
        ("my_attack", "such as 'my-attack'"),
        ("my.attack", "such as 'my-attack'"),
        ("my--attack", "such as 'my-attack'"),
        ("-a", "such as 'a'"),
        ("a-", "such as 'a'"),
        ("a\n", "such as 'a'"),
        ("a b", "such as 'a-b'"),
        ("a+b", "such as 'a-b'"),
        ("a:b", "such as 'a-b'"),
        ("../a", "such as 'a'"),
        ("naïve", "such as 'na-ve'"),
        ("\u0661", "lower-case words"),
        ("\x1b[31m", "lower-case words"),
        ("all", "another meaning on the command line"),
        ("show", "another meaning on the command line"),
        ("attack", "another meaning on the command line"),
        ("audits", "another meaning on the command line"),
        ("audit-loss", "the files of audits begin with 'audit-': choose another, such as 'my-audit-loss'"),
        ("cpu", "the name of a device: choose another, such as 'my-cpu'"),
        ("cuda", "device"),
        ("cuda0", "device"),
        ("mps", "device"),
        ("xpu1", "device"),
        ("meta", "device"),
        ("auto", "device"),
        ("con", "Windows reserves that name: choose another, such as 'my-con'"),
        ("nul", "Windows"),
        ("com1", "Windows"),
        ("lpt9", "Windows"),
    ],
)
def test_a_wrong_name_is_refused_with_what_would_be_right(name, told):
    for kind in KINDS:
        assert told in name_fault(name, kind)
    at_registration = fault("attack", named(name))
    assert at_registration.startswith("Mine is named ")
    assert told in at_registration
    assert "\n" not in at_registration
    assert at_registration.isprintable()


@pytest.mark.parametrize("name", [None, 3, b"lira"])
def test_a_name_is_text(name):
    assert name_fault(name).startswith("use lower-case words")


def test_a_defense_begins_with_a_letter_for_the_sake_of_chains():
    assert "such as 'my-2fast'" in name_fault("2fast", "defense")
    assert name_fault("2fast", "task") == ""


def test_components_of_a_script_have_the_same_names():
    with pytest.raises(PluginError, match=r"Attack Mine is named '../x'; use lower-case words .*, such as 'x'\."):
        check("attack", [named("../x")()])
    with pytest.raises(PluginError, match="Attack Mine is named 'audit-x'; the files of audits begin with"):
        check("attack", [named("audit-x")()])
    check("attack", [named("x")()])


@pytest.mark.parametrize(("name", "right"), [("MyAttack", "my-attack"), ("a_B c", "a-b-c"), ("--", ""), ("é", "")])
def test_the_closest_name_of_the_right_form(name, right):
    assert dashed(name) == right
