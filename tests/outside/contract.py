"""What the author of the plugin runs: `pytest contract.py`, after `pip install .`"""

from privbench.testing import parametrize_with_checks


@parametrize_with_checks(["attack:margin-gap", "attack:margin-gap:gap=0.5"])
def test_contract(check):
    check()
