"""Contract checks for any attack, defense, task or audit, for the tests of plugins.

    from privbench.testing import parametrize_with_checks

    @parametrize_with_checks(["attack:my-attack", "defense:my-defense:alpha=2"])
    def test_contract(check):
        check()

`privbench check NAME` runs the same checks. A failing check raises AssertionError with the fault in one line. Attacks
are run on planted evidence, a leak of known size among random numbers, and on models of a toy task that saw no data;
defenses on a toy task. `CountOnly`, `GuessedSeed` and `RememberedShadows` are attacks that cheat.

`with taped() as tape:` runs loops on the CPU as on a GPU, with tapes of operations instead of CUDA graphs: a loss or a
loop that can be recorded gives the same bits inside as `with one_by_one():`, and `tape.replayed` is not 0. The fixture
`device` of `privbench.pytest_plugin` runs the same test on a GPU.

`resolve("attack", "my-attack:alpha=2")` and `build(MyAttack, {"alpha": "2"})` make a component from text, with the same
errors as the command line; `catalogue()` returns all installed components, and the plugins that could not be loaded.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from privbench.contracts.attack import ReconstructionAttack
from privbench.devices import NAMES, choose
from privbench.errors import UnknownName, UsageError
from privbench.options.fields import build, spec
from privbench.plugins.loading import KINDS, catalogue, resolve
from privbench.plugins.registration import attributes
from privbench.seeds import fresh_salt
from privbench.testing.base import Check
from privbench.testing.cheats import GuessedSeed, RememberedShadows
from privbench.testing.counting import CountOnly, check_population_membership
from privbench.testing.planted import Planted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pytest

    from privbench.aliases import Array
    from privbench.api import Needs
    from privbench.contracts.evidence import Evidence
    from privbench.testing.tape import Counted
    from privbench.testing.toy import ToyTask

__all__ = [
    "Check",
    "CountOnly",
    "GuessedSeed",
    "RememberedShadows",
    "build",
    "catalogue",
    "check_population_membership",
    "checks_for",
    "one_by_one",
    "parametrize_with_checks",
    "resolve",
    "synthetic_evidence",
    "taped",
    "toy_task",
]


METHODS = {
    "score": "attack",
    "reconstruct": "attack",
    "fit": "defense",
    "prepare": "defense",
    "filter": "defense",
    "load": "task",
    "measure": "audit",
}
"""Methods by which a component's kind is known, whatever else of its contract it lacks."""


@contextlib.contextmanager
def taped(device: str = "cpu") -> Iterator[Counted]:
    """Make loops on the CPU record their steps on tapes and replay them, as they do on a GPU with CUDA graphs.

    device: "cuda" for real CUDA graphs, with the same counts.
    """
    from privbench.testing import tape

    with tape.taped(device) as counted:
        yield counted


@contextlib.contextmanager
def one_by_one(*, as_recorded: bool = False) -> Iterator[None]:
    """Make all devices run steps without recording: the reference that replays must equal.

    as_recorded: make `privbench.learn.steps.recorded` return True for all devices, so that loops that prepare their
        steps for replays, for example with samples of one size, do so here too.
    """
    from privbench.testing import tape

    with tape.one_by_one(as_recorded=as_recorded):
        yield


def checks_for(component: Any, *, salt: str | None = None, device: str = "cpu") -> list[Check]:
    """Return the contract checks of a component.

    component: an attack, defense, task or audit.
    salt: salt of the populations in the checks; random by default, and reported by failing checks.
    device: device for training and queries, named as for --device.

    Raises TypeError for anything but a component, UsageError for a device that is not available.
    """
    from privbench.testing.components import component_checks

    kind, salt, device = _kind(component), fresh_salt() if salt is None else salt, choose(device)
    return [*component_checks(component, kind), *_own_checks(component, kind, salt, device)]


def parametrize_with_checks(
    components: Iterable[Any], *, salt: str | None = None, device: str = "cpu"
) -> pytest.MarkDecorator:
    """Return a pytest mark that runs a test with `check` once for each contract check of each component.

    components: instances, or names as on the command line, with or without their kind before a colon.
    salt: as for `checks_for`.
    device: as for `checks_for`, but on a device that is not available the tests are skipped.

    Raises UnknownName or BadOption as the command line does.
    """
    import pytest

    marks: tuple[pytest.MarkDecorator, ...] = ()
    try:
        device = choose(device)
    except UsageError as error:
        if device not in NAMES:
            raise
        device, marks = "cpu", (pytest.mark.skip(str(error)),)
    chosen = [_named(each) if isinstance(each, str) else each for each in components]
    pairs = [(component, check) for component in chosen for check in checks_for(component, salt=salt, device=device)]
    return pytest.mark.parametrize(
        "check", [pytest.param(check, id=f"{spec(component)}-{check.name}", marks=marks) for component, check in pairs]
    )


def synthetic_evidence(
    needs: Needs, *, leak: float, models: int = 16, examples: int = 200, classes: int = 4, seed: int = 0
) -> tuple[Evidence, Array]:
    """Return planted evidence of one target, as declared in `needs`, and its membership, (examples,) bool.

    leak: difference of the true class's logit between members and non-members, in standard deviations; the same for
        the target and the shadows.
    models: number of models, in complementary pairs. The partner of the target is dropped: there are `models - 2`
        shadows.
    examples, classes: numbers of examples and classes. Inputs are random 8 x 8 images.
    seed: seed of all random numbers.

    White-box access and free queries use a network that remembers the examples.
    """
    planted = Planted(needs, leak, models=models, examples=examples, classes=classes, seed=seed)
    return planted.evidence(), planted.member


def toy_task(**options: int) -> ToyTask:
    """Return a task of 108 random 8 x 8 images and a small MLP, on which defenses train almost instantly.

    options: classes, epochs, pool (number of examples) and noise (of the pixels; 255 is pure noise).
    """
    from privbench.testing.toy import ToyTask

    return build(ToyTask, options)


def _own_checks(component: Any, kind: str, salt: str, device: str) -> list[Check]:
    if isinstance(component, ReconstructionAttack):
        from privbench.testing.reconstruction import reconstruction_checks

        return reconstruction_checks(component, salt, device)
    if kind == "attack":
        from privbench.testing.attacks import attack_checks

        return attack_checks(component, salt, device)
    if kind == "defense":
        from privbench.testing.defenses import defense_checks

        return defense_checks(component, salt, device)
    if kind == "task":
        from privbench.testing.tasks import task_checks

        return task_checks(component, device)
    from privbench.testing.audits import audit_checks

    return audit_checks(component, device)


def _kind(component: Any) -> str:
    has = attributes(type(component))
    for method, kind in METHODS.items():
        if callable(has.get(method)):
            return kind
    raise TypeError(
        f"{type(component).__qualname__} is not a component: it has none of the methods {', '.join(METHODS)}."
    )


def _named(text: str) -> Any:
    kind, _, rest = text.partition(":")
    if kind in KINDS and rest:
        return resolve(kind, rest)
    name = kind.partition("+")[0].strip()
    kinds = [each for each in KINDS if name in catalogue().of(each)]
    if len(kinds) != 1:
        where = f"{' and '.join(kinds)} are named" if kinds else "Nothing installed is named"
        raise UnknownName(f"{where} {name!r}; write kind:name, with one of {', '.join(KINDS)}.")
    return resolve(kinds[0], text)
