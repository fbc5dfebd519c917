"""Options whose values are components."""

import pickle
from typing import ClassVar

import pytest

from privbench.api import component, option
from privbench.builtin.attacks.threshold import Confidence
from privbench.builtin.defenses.relaxloss import RelaxLoss
from privbench.errors import BadOption
from privbench.options.fields import build, options_of, spec
from privbench.plugins import NamedAttack, NamedDefense


@component
class Namer:
    """A component that names others."""

    name: ClassVar[str] = "namer"
    presets: ClassVar = {"mine": {"defense": "relaxloss:alpha=0.3", "attack": "lira:queries=2"}}

    defense: NamedDefense = option(RelaxLoss(), "a defense")
    attack: NamedAttack = option(Confidence(), "an attack")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "namer"),
        ({"defense": "relaxloss", "attack": "confidence"}, "namer"),
        ({"defense": "ce"}, "namer:defense=ce"),
        ({"attack": "lira:queries=2,shadows=undefended"}, "namer:attack='lira:shadows=undefended,queries=2'"),
        ({"preset": "mine"}, "namer:defense=relaxloss:alpha=0.3,attack=lira:queries=2"),
        ({"defense": "fake-data+relaxloss"}, "namer:defense='fake-data+relaxloss'"),
        ({"defense": RelaxLoss(alpha=0.3)}, "namer:defense=relaxloss:alpha=0.3"),
    ],
)
def test_texts_are_read_and_written_as_on_the_command_line(given, text):
    from privbench.options.fields import read

    made = build(Namer, given)
    assert spec(made) == text
    assert build(Namer, read(text)[1]) == made
    assert pickle.loads(pickle.dumps(made)) == made
    assert set(map(type, options_of(made).values())) == {str}


def test_a_data_stage_alone_gets_a_training():
    from privbench.builtin.defenses.fake_data import FakeData

    assert spec(Namer(defense=FakeData()).defense) == "fake-data"
    assert callable(Namer(defense=FakeData()).defense.fit)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"defense": "relaxlos"}, "'namer': option 'defense' = 'relaxlos': no defense named 'relaxlos'. Did you mean"),
        ({"attack": "relaxloss"}, "no attack named 'relaxloss'"),
        ({"attack": "lira:querys=2"}, "'lira' has no option 'querys'. Did you mean 'queries'?"),
        ({"attack": "none"}, "must be the text of a component of the kind attack"),
        ({"defense": "3"}, "option 'defense' = 3: must be the text of a component of the kind defense"),
        ({"defense": ["ce"]}, "must be the text of a component of the kind defense"),
    ],
)
def test_mistakes_are_told_with_the_option(given, what):
    with pytest.raises(BadOption) as found:
        build(Namer, given)
    assert what in str(found.value)
