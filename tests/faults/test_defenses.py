"""Defenses that misbehave spoil their own cells alone: neither other models, nor what is kept of them, change."""

HEAD = """
import builtins, ctypes, functools, gc, os, signal, subprocess, sys, threading, time, warnings
from typing import ClassVar
import numpy as np
import torch
from privbench import hookimpl
from privbench.api import Examples, Release, Traits, component
from privbench.errors import PrivbenchError
from privbench.learn import classifier, train

def good(task, examples, ctx):
    return Release(train(task, examples, ctx))

class Lying(torch.nn.Module):
    def __init__(self, does):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.does = does
    def forward(self, x):
        return self.does(torch.zeros(len(x), 10))
"""
COMPONENT = '''
@component
class {cls}:
    """It misbehaves."""
    name: ClassVar[str] = {name!r}
    paper: ClassVar[str] = "none"
    def fit(self, task, examples, ctx):
        {body}
'''
FAILING = {
    "exits": "sys.exit(0)",
    "exits-hard": "os._exit(0)",
    "crashes": "ctypes.string_at(0)",
    "kills-itself": "os.kill(os.getpid(), signal.SIGKILL)",
    "kills-its-parent": "os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)",
    "interrupts": "raise KeyboardInterrupt",
    "base-exception": "raise BaseException('b')",
    "no-text": "raise type('E', (Exception,), {'__str__': lambda s: 1 / 0})()",
    "control-characters": "raise ValueError('\\x1b[2J\\x07\\x00 [/red]')",
    "out-of-memory": "raise torch.cuda.OutOfMemoryError('CUDA out of memory')",
    "broken-device": "raise RuntimeError('CUDA error: an illegal memory access was encountered')",
    "closes-files": "os.closerange(0, 1000); return good(task, examples, ctx)",
    "recursion": "return self.fit(task, examples, ctx)",
    "returns-nothing": "return None",
    "returns-text": "return 'release'",
    "returns-no-model": "return Release('model')",
    "returns-nan": "r = good(task, examples, ctx); [p.data.fill_(np.nan) for p in r.model.parameters()]; return r",
    "answers-nan": "return Release(Lying(lambda z: z + float('nan')))",
    "answers-too-few": "return Release(Lying(lambda z: z[:, :3]))",
    "answers-text": "return Release(Lying(lambda z: 'cat'))",
    "answers-and-exits": "return Release(Lying(lambda z: os._exit(0)))",
    "answers-interrupt": "return Release(Lying(lambda z: (_ for _ in ()).throw(KeyboardInterrupt())))",
    "removes-modules": "sys.modules.clear(); return good(task, examples, ctx)",
    "progress-nan": "ctx.progress(float('nan'), '[/red]\\x1b[2J'); time.sleep(0.3); ctx.progress('much'); return good(task, examples, ctx)",  # noqa: E501
}
LEAKING = {
    "patches-loss": "torch.nn.functional.cross_entropy = functools.partial(torch.nn.functional.cross_entropy, label_smoothing=0.4); return good(task, examples, ctx)",  # noqa: E501
    "patches-optimiser": "torch.optim.SGD.step = lambda *a, **k: None; return good(task, examples, ctx)",
    "patches-seeds": "import privbench.seeds as s; s.derive = lambda *a: 0; return good(task, examples, ctx)",
    "patches-store": "import privbench.store.atomic as a; a.atomic_write = lambda *a, **k: None; return good(task, examples, ctx)",  # noqa: E501
    "patches-numpy": "r = good(task, examples, ctx); np.save = np.load = None; return r",
    "changes-dtype": "r = good(task, examples, ctx); torch.set_default_dtype(torch.float64); return r",
    "changes-seeds": "torch.manual_seed(0); np.random.seed(0); return good(task, examples, ctx)",
    "changes-threads": "torch.set_num_threads(4); return good(task, examples, ctx)",
    "changes-grad": "r = good(task, examples, ctx); torch.set_grad_enabled(False); return r",
    "changes-determinism": "torch.use_deterministic_algorithms(True); torch.set_flush_denormal(True); return good(task, examples, ctx)",  # noqa: E501
    "changes-data": "\n        try: examples.x[:] = 0; examples.y[:] = 0\n        except ValueError: pass\n        return good(task, examples, ctx)",  # noqa: E501
    "changes-folder": "os.chdir('/'); os.umask(0o777); os.environ.clear(); return good(task, examples, ctx)",
    "changes-warnings": "r = good(task, examples, ctx); warnings.simplefilter('error'); return r",
    "leaves-a-hook": "torch.nn.modules.module.register_module_forward_hook(lambda m, i, o: o * 0); return good(task, examples, ctx)",  # noqa: E501
    "leaves-a-mode": "torch.overrides.TorchFunctionMode().__enter__(); return good(task, examples, ctx)",
    "leaves-a-thread": "threading.Thread(target=time.sleep, args=(600,)).start(); return good(task, examples, ctx)",
    "leaves-a-process": "subprocess.Popen(['sleep', '600']); return good(task, examples, ctx)",
    "forks": "r = good(task, examples, ctx); os.fork(); return r",
}
"""What is harmless to the defense itself, and may have a result or not."""


def test_defenses_that_misbehave_spoil_their_own_cells_alone(lab, reference, survived):
    source, classes = HEAD, []
    for name, body in (FAILING | LEAKING).items():
        classes.append("".join(word.title() for word in name.split("-")))
        source += COMPONENT.format(cls=classes[-1], name=f"evil-{name}", body=body)
    evil = lab.plugin("evil", f"{source}\n@hookimpl\ndef register_defenses(): return [{', '.join(classes)}]\n")
    names = [word for name in [*LEAKING, *FAILING] for word in ("--defense", f"evil-{name}")]
    half = len(names) // 4 * 2
    words = [*names[:half], "--defense", "ce", *names[half:], "--attack", "confidence"]
    done = lab.run(*words, store="shared", out="beside", plugins=[evil])
    expected = {name: ((f"evil-{name}", "confidence"), {"failed"}) for name in FAILING}
    expected |= {name: ((f"evil-{name}", "confidence"), {"failed", "ok"}) for name in LEAKING}
    harm = lab.harm(done, "beside", reference, expected)
    later = lab.run("--attack", "confidence", store="shared", out="later")
    if "Training" in later.stderr or lab.records("later").get(("ce", "confidence")) != reference:
        harm["stored"] = "a later run reads what was spoilt"
    survived("defenses", harm)
