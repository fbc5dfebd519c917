from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar

import pytest

from privbench.errors import BadOption, PluginError, UnknownName
from privbench.options.fields import component, option
from privbench.plugins import loading as plugins
from privbench.plugins.loading import BUILTIN, BUILTIN_MODULE, KINDS, catalogue, load, resolve, resolve_all
from privbench.plugins.naming import RIGHT
from privbench.population.composition import chain


def attack(label):
    @component
    class Made:
        """An attack, with what any other kind must have too."""

        name: ClassVar[str] = label
        needs = load = network = recipe = fit = measure = None
        alpha: float = option(1.0, "a number", ge=0)

        def score(self, evidence):
            return evidence.labels * self.alpha

    return Made


def defense(label, *stages):
    @component
    class Made:
        """A defense with some of the two stages."""

        name: ClassVar[str] = label
        beta: float = option(1.0, "a number", ge=0)

    for stage in stages:
        setattr(Made, stage, lambda *_: None)
    return Made


@pytest.fixture
def installed(monkeypatch):
    """Make these entry points all that is installed."""

    def make(*found):
        monkeypatch.setattr(plugins.importlib.metadata, "entry_points", lambda group: found)
        catalogue.cache_clear()
        return catalogue()

    yield make
    catalogue.cache_clear()


def reasons(found):
    return [(problem.plugin, problem.reason) for problem in found.problems]


def test_builtins_come_in_by_the_same_door():
    (builtin,) = (point for point in entry_points(group=plugins.GROUP) if point.name == BUILTIN)
    assert builtin.value == BUILTIN_MODULE
    module = builtin.load()
    for hook in KINDS.values():
        assert hasattr(getattr(module, hook), "privbench_impl"), f"{hook} is not implemented by the built-ins"


@pytest.mark.parametrize(("kind", "hook"), KINDS.items())
def test_every_hook_registers_its_kind(plugin, kind, hook):
    found = load([plugin("mine", **{hook: lambda: [attack("thing")]})])
    assert found.problems == []
    assert [*found.of(kind)] == ["thing"]
    assert found.get(kind, "thing").plugin == "mine"
    assert all(not found.of(other) for other in KINDS if other != kind)


def test_an_unknown_name_gets_the_nearest_one(plugin):
    found = load([plugin("mine", register_attacks=lambda: [attack("lira"), attack("rmia")])])
    with pytest.raises(UnknownName, match=r"No attack named 'lrra'\. Did you mean 'lira'\? Installed: lira, rmia\."):
        found.get("attack", "lrra")
    with pytest.raises(UnknownName, match=r"No defense named 'x'\. Installed: none\."):
        found.get("defense", "x")


def test_a_clash_names_both_plugins_and_spoils_only_that_name(plugin, installed):
    found = installed(
        plugin("one", register_attacks=lambda: [attack("same"), attack("good")]),
        plugin("two", register_attacks=lambda: [attack("same")]),
    )
    assert reasons(found) == [
        (
            "two",
            (
                "attack 'same' is registered by both plugin 'one' and plugin 'two'; "
                "uninstall one, or set PRIVBENCH_PLUGINS=one."
            ),
        )
    ]
    with pytest.raises(PluginError, match=r"Attack 'same' is registered by both plugin 'one' and plugin 'two'"):
        resolve("attack", "same")
    assert [made.name for made in resolve_all("attack", ["all"])] == ["good"]


def test_a_clash_with_a_builtin_leaves_the_builtin(plugin):
    builtin = plugin(BUILTIN, BUILTIN_MODULE, register_attacks=lambda: [attack("lira")])
    found = load([plugin("aaa", register_attacks=lambda: [attack("lira")]), builtin])
    assert found.get("attack", "lira").plugin == BUILTIN
    assert [plugin for plugin, reason in reasons(found) if reason.endswith("the built-in one stays.")] == ["aaa"]


def test_a_name_registered_twice_by_one_plugin_is_told_so(plugin):
    found = load([plugin("mine", register_attacks=lambda: [attack("a"), attack("a")])])
    assert reasons(found) == [("mine", "attack 'a' is registered twice; the first stays.")]
    assert found.get("attack", "a")


def raising():
    raise RuntimeError("no licence\nfor this machine")


class Plain:
    name = "plain"


class Unusual(BaseException):
    @staticmethod
    def up():
        raise Unusual("no Exception")


def versioned(version):
    cls = attack("x")
    cls.version = version
    return cls


@pytest.mark.parametrize(
    ("hooks", "reason"),
    [
        ({"register_atacks": lambda: [attack("x")]}, "unknown hook 'register_atacks'"),
        ({"register_attacks": lambda option: [option]}, "PluginValidationError"),
        ({"register_attacks": raising}, "register_attacks: RuntimeError: no licence for this machine"),
        ({"register_attacks": lambda: sys.exit(3)}, "register_attacks: SystemExit: 3"),
        ({"register_attacks": Unusual.up}, "register_attacks: Unusual: no Exception"),
        ({"register_attacks": lambda: None}, "register_attacks: TypeError"),
        ({"register_attacks": lambda: [defense("x", "fit")]}, "attack 'x' has no 'needs'; see privbench.api."),
        ({"register_defenses": lambda: [defense("x")]}, "defense 'x' has no 'fit' or 'prepare' or 'filter'; see"),
        ({"register_attacks": lambda: [Plain]}, "Plain is no component; decorate it with @privbench.api.component."),
        ({"register_attacks": lambda: [attack("x")()]}, "is no class; return the classes themselves, not instances."),
        ({"register_attacks": lambda: [attack("Bad Name")]}, "is named 'Bad Name'; use lower-case words"),
        ({"register_attacks": lambda: [versioned("2")]}, "attack 'x' has the version '2'; it must be a whole number."),
        ({"API_VERSION": 99}, "it is written for version 99 of privbench.api, and this privbench 0.1.0 has 1."),
        ({}, "registers nothing; decorate its hooks with @privbench.hookimpl."),
    ],
)
def test_a_broken_plugin_is_reported_and_spares_the_others(plugin, hooks, reason):
    found = load([plugin("broken", **hooks), plugin("sound", register_attacks=lambda: [attack("fine")])])
    assert [*found.of("attack")] == ["fine"]
    ((name, told),) = reasons(found)
    assert name == "broken"
    assert reason in told
    assert "\n" not in told


def test_a_pydantic_model_is_not_mistaken_for_a_component(plugin):
    import pydantic

    found = load([plugin("odd", register_attacks=lambda: [pydantic.create_model("Odd")])])
    assert [told for _, told in reasons(found)] == [f"register_attacks: Odd is named None; {RIGHT}."]


def test_one_bad_component_spares_those_beside_it(plugin):
    found = load([plugin("mixed", register_attacks=lambda: [Plain, attack("fine")])])
    assert [*found.of("attack")] == ["fine"]
    assert len(found.problems) == 1


def test_a_plugin_that_cannot_be_imported_is_reported(plugin, monkeypatch, tmp_path):
    (tmp_path / "exits_on_import.py").write_text("raise SystemExit('not today')")
    monkeypatch.syspath_prepend(tmp_path)
    missing = EntryPoint("gone", "no_such_module_of_ours", "privbench")
    exits = EntryPoint("exits", "exits_on_import", "privbench")
    found = load([missing, exits, plugin("sound", register_attacks=lambda: [attack("fine")])])
    assert reasons(found) == [
        ("exits", "SystemExit: not today (exits_on_import.py:1)"),
        ("gone", "ModuleNotFoundError: No module named 'no_such_module_of_ours'"),
    ]
    assert [*found.plugins] == ["sound"]


def test_two_plugins_of_one_name_leave_the_first_whole(plugin):
    first = plugin("same", "module_a", register_attacks=lambda: [attack("a")])
    second = plugin("same", "module_b", register_attacks=lambda: [attack("b")])
    found = load([second, first])
    assert [*found.of("attack")] == ["a"]
    assert reasons(found) == [("same", "another plugin is named 'same' too; 'module_b' is left out.")]


def test_nobody_takes_the_name_of_the_builtins(plugin):
    thief = plugin(BUILTIN, "aaa_thief", register_attacks=lambda: [attack("stolen")])
    builtin = plugin(BUILTIN, BUILTIN_MODULE, register_attacks=lambda: [attack("lira")])
    found = load([thief, builtin])
    assert [*found.of("attack")] == ["lira"]


def test_an_entry_point_listed_twice_is_loaded_once(plugin):
    point = plugin("mine", register_attacks=lambda: [attack("a")])
    assert load([point, point]).problems == []


@pytest.mark.parametrize(
    ("wanted", "loaded"), [(None, ["builtin", "one", "two"]), ("", ["builtin"]), ("two, x", ["builtin", "two"])]
)
def test_the_environment_narrows_what_loads(plugin, monkeypatch, wanted, loaded):
    points = [plugin(name, register_attacks=lambda name=name: [attack(name)]) for name in ("one", "two")]
    points.append(plugin(BUILTIN, BUILTIN_MODULE, register_attacks=lambda: [attack("builtin")]))
    monkeypatch.delenv("PRIVBENCH_PLUGINS", raising=False)
    if wanted is not None:
        monkeypatch.setenv("PRIVBENCH_PLUGINS", wanted)
    assert [*load(points).of("attack")] == loaded


@pytest.fixture
def some(plugin, installed):
    return installed(
        plugin(
            "mine",
            register_attacks=lambda: [attack("lira"), attack("gap")],
            register_defenses=lambda: [
                defense("ce", "fit"),
                defense("fake", "prepare"),
                defense("whole", "prepare", "fit"),
                defense("idle"),
            ],
        )
    )


@pytest.mark.usefixtures("some")
class TestResolve:
    def test_words_become_a_component(self):
        made = resolve("attack", " lira:alpha=2.5 ")
        assert (made.name, made.alpha) == ("lira", 2.5)

    def test_options_of_a_file_are_laid_over_the_words(self):
        assert resolve("attack", "lira:alpha=2", {"alpha": 3}).alpha == 3

    @pytest.mark.parametrize("text", ["lira:alpha", "lira:=2", "lira:2"])
    def test_words_that_cannot_be_read_say_how_to_write_them(self, text):
        with pytest.raises(BadOption, match=r"options are written name:option=value"):
            resolve("attack", text)

    def test_dashes_are_underscores(self):
        with pytest.raises(BadOption, match="no option 'no_such'"):
            resolve("attack", "lira:no-such=1")

    def test_defenses_chain_with_plus(self):
        made = resolve("defense", "fake:beta=1e+2+whole:beta=2")
        assert made.name == "fake+whole"
        assert [part.beta for part in made.parts] == [100, 2]

    def test_options_of_a_file_do_not_vanish_in_a_chain(self):
        with pytest.raises(BadOption, match=r"'fake\+ce' is a chain: write its options into the text"):
            resolve("defense", "fake+ce", {"beta": 2})

    def test_a_defense_without_any_stage_is_not_benchmarked_as_another(self):
        with pytest.raises(PluginError, match="'idle' has neither 'prepare' nor 'fit'"):
            chain([defense("idle")()])

    def test_all_is_every_installed_one_once(self):
        made = resolve_all("attack", ["lira", "all", "lira", "lira:alpha=2"])
        assert [(a.name, a.alpha) for a in made] == [("lira", 1), ("gap", 1), ("lira", 2)]


def test_finding_plugins_does_not_import_torch():
    code = "import sys, privbench.plugins.loading as p; p.catalogue(); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"torch was imported, or worse: {done.stderr}"


def test_all_leaves_out_what_cannot_be_built_without_options():
    names = [component.name for component in plugins.resolve_all("task", ["all"])]
    assert "digits" in names
    assert "npz" not in names


def test_a_component_that_cannot_be_built_is_one_line(plugin, monkeypatch):
    @component
    class Leaving:
        """An attack that ends the process when it is built."""

        name: ClassVar[str] = "leaving"
        needs = score = None

        def __post_init__(self):
            sys.exit("bye")

    found = load([plugin("leaving", register_attacks=lambda: [Leaving])])
    monkeypatch.setattr("privbench.plugins.loading.catalogue", lambda: found)
    with pytest.raises(PluginError, match=r"^attack 'leaving' cannot be built: SystemExit: bye$"):
        resolve("attack", "leaving")
