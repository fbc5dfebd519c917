"""The plugin as a whole: what it registers, and how little that takes."""

import subprocess
import sys

CODE = """
import sys
from privbench.testing import catalogue
found = catalogue()
print(*(entry.name for entry in found.components.values() if entry.plugin == "art"))
print(*(problem for problem in found.problems if problem.plugin == "art"))
print(*sorted({"art", "torch", "sklearn"} & set(sys.modules)))
"""


def test_all_attacks_are_listed_and_nothing_heavy_is_imported(monkeypatch):
    monkeypatch.setenv("PRIVBENCH_PLUGINS", "art")
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    names, problems, imported = done.stdout.splitlines()
    assert names.split() == ["art-black-box", "art-mi-face", "art-rule-based"]
    assert problems == ""
    assert imported == ""
