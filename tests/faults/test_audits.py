"""Attacks that an audit names: they see their evidence alone, and cost the audit that names them alone."""

import json

HEAD = """
import gc, os, sys, time
from typing import ClassVar
import numpy as np
from privbench import hookimpl
from privbench.api import Needs, component
from privbench.stats import signals

def good(e):
    return e.signals(signals.log_confidence)[:, 0]

def held():  # what an attack must not see
    types = {type(each) for each in gc.get_objects()}
    return [each for each in types if str(each.__module__).startswith("privbench.") and each.__name__ in HIDDEN]

HIDDEN = ("Population", "Store", "Dataset")
"""
COMPONENT = '''
@component
class {cls}:
    """It scores what it is given."""
    name: ClassVar[str] = {name!r}
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs({needs})
    def score(self, e):
        {body}
'''
RIGHT = {
    "plain": ("", "return good(e)"),
    "peeks": ("", "assert not held(); return good(e)"),
    "asks": ("query=True, examples=True", "return 0 * e.query(e.x).max(axis=1) + good(e)"),
}
WRONG = {
    "exits": ("", "os._exit(0)"),
    "raises": ("", "raise KeyboardInterrupt"),
    "objects": ("", "return np.array([object()] * len(e.labels))"),
    "sleeps": ("", "time.sleep(600)"),
}


def test_attacks_that_audits_name_are_apart_from_them(lab, survived):
    source, classes = HEAD, []
    for name, (needs, body) in {**RIGHT, **WRONG}.items():
        classes.append(name.title())
        source += COMPONENT.format(cls=name.title(), name=f"named-{name}", needs=needs, body=body)
    plugin = lab.plugin("named", f"{source}\n@hookimpl\ndef register_attacks(): return [{', '.join(classes)}]\n")
    found, harm = {}, dict.fromkeys([*RIGHT, *WRONG], "")
    for name in harm:
        audit = ["audit", f"epsilon:attack=named-{name}", *lab.tiny, "--store", "store"]
        audit += ["--timeout", "5"] if name == "sleeps" else []
        done = lab.cli(*audit, "--out", name, plugins=[plugin])
        (path,) = (lab.root / name).rglob("*.json")
        found[name] = json.loads(path.read_text())
        if done.returncode != (name in WRONG) or "Traceback" in done.stderr:
            harm[name] = f"exit code {done.returncode}: {done.stderr[-800:]}"
    for name in RIGHT:
        if found[name]["status"] != "ok" or found[name]["values"] != found["plain"]["values"]:
            harm[name] = found[name]["reason"] or "other values"
    for name in WRONG:
        if found[name]["status"] != "failed" or "\n" in found[name]["reason"]:
            harm[name] = found[name]["reason"] or "not failed"
    survived("attacks of audits", harm)
    assert found["sleeps"]["reason"] == "The process that runs an audit's attack was stopped after 5 s."
