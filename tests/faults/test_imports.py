"""Plugins that misbehave when they are imported cost nothing but themselves."""

HEAD = """
import os, signal, sys, time
from typing import ClassVar
from privbench import hookimpl
from privbench.api import Needs, component
"""
ATTACK = '''
@component
class Attack:
    """An attack."""
    name: ClassVar[str] = "evil-{name}"
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs()
    def score(self, e):
        return e.n
@hookimpl
def register_attacks(): return [Attack]
'''
REFUSED = {
    "exits": "sys.exit(0)",
    "exitshard": "os._exit(0)",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "kills": "os.kill(os.getpid(), signal.SIGKILL)",
    "interrupts": "raise KeyboardInterrupt",
    "base": "raise BaseException('b')",
    "notext": "raise type('E', (Exception,), {'__str__': lambda s: 1 / 0})()",
    "syntax": "def",
    "missing": "import no_such_module",
    "lines": "raise ValueError('one\\ntwo\\x1b[2J')",
    "patches": "import torch; torch.nn.functional.cross_entropy = lambda *a, **k: torch.zeros(())",
    "patchesnumpy": "import numpy; numpy.argsort = lambda *a, **k: None",
    "patchesus": "import privbench.stats.metrics as m; m.evaluate = lambda *a, **k: None",
}
HARMLESS = {
    "prints": "print('x' * 10**5, chr(27) + '[2J')",
    "warns": "import warnings; warnings.warn('odd', stacklevel=1)",
    "dtype": "import torch; torch.set_default_dtype(torch.float64)",
    "seeds": "import numpy, torch; numpy.random.seed(0); torch.manual_seed(0)",
    "thread": "import threading; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
}
"""What may be refused or not."""
CLASSES = {
    "needs": "needs: ClassVar[object] = None",
    "version": "needs: ClassVar[Needs] = Needs()\n    version: ClassVar[object] = object()",
    "threshold": "needs: ClassVar[Needs] = Needs()\n    threshold: ClassVar[str] = 'high'",
    "misspelt": "needs: ClassVar[Needs] = Needs()\n    treshold: ClassVar[float] = 0.0",
}


def test_plugins_that_misbehave_when_imported_cost_themselves_alone(lab, reference, survived):
    names = {}
    for name, body in (REFUSED | HARMLESS).items():
        names[name] = lab.plugin(f"evil{name}", HEAD + body + "\n" + ATTACK.format(name=name))
    for name, body in CLASSES.items():
        source = HEAD + ATTACK.format(name=name).replace("needs: ClassVar[Needs] = Needs()", body)
        names[name] = lab.plugin(f"evil{name}", source)
    plugins = list(names.values())
    done = lab.run("--attack", "confidence", "--store", "fresh", out="beside", plugins=plugins)
    general = ""
    if done.returncode != 0 or "Traceback" in done.stderr + done.stdout:
        general = f"exit code {done.returncode}: {done.stderr[-800:]}"
    elif lab.records("beside").get(("ce", "confidence")) != reference:
        general = "the other cell is wrong"
    listed = lab.cli("list", plugins=plugins)
    if listed.returncode != 0 or "Traceback" in listed.stderr:
        general = f"list: exit code {listed.returncode}: {listed.stderr[-800:]}"
    told = listed.stdout + listed.stderr
    harm = {}
    for name, plugin in names.items():
        harm[name] = general
        if name not in HARMLESS and plugin not in told:
            harm[name] = f"nobody is told: {told[-3000:]}"
    survived("imports", harm)
