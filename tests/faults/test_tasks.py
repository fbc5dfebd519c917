"""Tasks that misbehave when they are loaded spoil their own cells alone."""

HEAD = """
import ctypes, os, random, signal, sys, time
from typing import ClassVar
import numpy as np
import torch
from privbench import hookimpl
from privbench.api import Dataset, Examples, component
from privbench.testing.toy import ToyTask

TOY = ToyTask(pool=48, epochs=1)

class Text(str):
    def __reduce__(self):
        return (os._exit, (0,))
"""
COMPONENT = '''
@component
class {cls}:
    """It misbehaves."""
    name: ClassVar[str] = {name!r}

    @property
    def recipe(self):
        {recipe}
        return TOY.recipe

    def load(self):
        {load}
        return TOY.load()

    def network(self, shape, classes):
        {network}
        return TOY.network(shape, classes)
'''
FAILING = {
    "exits": "sys.exit(0)",
    "exits-hard": "os._exit(0)",
    "crashes": "ctypes.string_at(0)",
    "kills-itself": "os.kill(os.getpid(), signal.SIGKILL)",
    "interrupts": "raise KeyboardInterrupt",
    "base-exception": "raise BaseException('b')",
    "control-characters": "raise ValueError('\\x1b[2J\\x07\\x00 [/red]')",
    "recursion": "self.load()",
    "hangs": "time.sleep(600)",
    "returns-nothing": "return None",
    "returns-arrays": "return TOY.load().examples",
    "returns-class": "return Dataset",
    "network-exits": ("", "os._exit(0)"),
    "network-raises": ("", "1 / 0"),
}
HARMLESS = {
    "changes-seeds": "torch.manual_seed(0); np.random.seed(0); random.seed(0)",
    "changes-folder": "os.chdir('/'); os.umask(0o777); os.environ.clear()",
    "closes-files": "os.closerange(3, 1000)",
    "replaces": "Dataset.__init__ = Examples.__init__ = None",
    "removes-modules": "sys.modules.clear()",
    "own-name": "d = TOY.load(); object.__setattr__(d, 'name', Text('toy')); return d",
}
"""What may fail the task or not."""


def test_tasks_that_misbehave_spoil_their_own_cells_alone(lab, reference, survived):
    source, classes = HEAD, []
    for name, body in (FAILING | HARMLESS).items():
        load, network = body if isinstance(body, tuple) else (body, "")
        classes.append("".join(word.title() for word in name.split("-")))
        told = {"load": load or "pass", "network": network or "pass", "recipe": "pass"}
        source += COMPONENT.format(cls=classes[-1], name=f"evil-{name}", **told)
    evil = lab.plugin("eviltask", f"{source}\n@hookimpl\ndef register_tasks(): return [{', '.join(classes)}]\n")

    def words(*names):
        return [word for name in names for word in ("--task", f"evil-{name}")]

    few, options = words("exits-hard", "returns-nothing"), {"store": "shared", "plugins": [evil]}
    dry = lab.run(*few, "--attack", "confidence", "--dry-run", out="beside", **options)
    stopped = [*words(*FAILING, *HARMLESS), "--timeout", "15"]
    done = lab.run(*stopped, "--attack", "confidence", out="beside", **options)
    audited = lab.audit("epsilon:attack=confidence", *few, out="audits", **options)
    found = lab.tasks("beside")
    general = ""
    for ran, code in ((dry, 0), (done, 1), (audited, 1)):
        if "Traceback" in ran.stderr + ran.stdout or ran.returncode != code:
            general = f"exit code {ran.returncode}: {ran.stderr[-800:]}"
    if found.get("digits") != reference:
        general = f"the other cell is wrong: {done.stderr[-800:]}"
    if lab.tasks("audits").get("digits", {}).get("status") != "ok":
        general = f"the other audit is wrong: {audited.stderr[-800:]}"
    harm = {}
    for name in FAILING | HARMLESS:
        record = found.get(f"evil-{name}", {"status": "missing", "reason": ""})
        allowed = {"failed"} if name in FAILING else {"failed", "ok"}
        harm[name] = general or ("" if record["status"] in allowed else f"{record['status']}: {record['reason']}")
        if "\n" in record["reason"] or len(record["reason"]) > 700:
            harm[name] = f"reason {record['reason'][:200]!r}"
    survived("tasks", harm)
