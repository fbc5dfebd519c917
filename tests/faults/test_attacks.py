"""Attacks that misbehave spoil their own cells alone, however they do it."""

import pytest

HEAD = '''
import atexit, builtins, ctypes, gc, os, signal, subprocess, sys, threading, time, types, warnings
from typing import ClassVar
import numpy as np
from privbench import hookimpl
from privbench.api import Needs, component
from privbench.errors import CannotWrite, PrivbenchError, UsageError

def good(e):
    from privbench.stats import signals
    return e.signals(signals.log_confidence)[:, 0]

def raises(kind, base=Exception, **methods):
    raise type(kind, (base,), methods)("x")

def loop(*_):
    while True:
        pass

class Lying:
    """An array that is another one each time."""
    def __array__(self, dtype=None, copy=None):
        Lying.size = getattr(Lying, "size", 0) + 1
        return np.zeros(Lying.size)

class Exploding:
    def __array__(self, dtype=None, copy=None): raise SystemExit(0)
    def __len__(self): raise KeyboardInterrupt

class Odd(np.ndarray):
    def __array_ufunc__(self, *a, **k): raise KeyboardInterrupt
    def __array_finalize__(self, other): pass

class Own(PrivbenchError):
    """Pickle cannot rebuild it."""
    def __init__(self, a, b): super().__init__("own")

class Dying:
    def __del__(self): os._exit(0)
'''
COMPONENT = '''
@component
class {cls}:
    """It misbehaves."""
    name: ClassVar[str] = {name!r}
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs({needs})
    def score(self, e):
        {body}
{more}
'''
FAILING = {
    "exits": "sys.exit(0)",
    "exits-with-words": "sys.exit('done')",
    "exits-hard": "os._exit(0)",
    "exits-hard-with-3": "os._exit(3)",
    "exits-in-a-thread": "threading.Thread(target=os._exit, args=(0,)).start(); time.sleep(60)",
    "exits-at-collection": "Dying(); gc.collect(); return good(e)",
    "crashes": "ctypes.string_at(0)",
    "aborts": "os.abort()",
    "kills-itself": "os.kill(os.getpid(), signal.SIGKILL)",
    "terminates-itself": "os.kill(os.getpid(), signal.SIGTERM)",
    "kills-its-group": "os.killpg(0, signal.SIGKILL)",
    "kills-its-parent": "os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)",
    "sets-an-alarm": "signal.alarm(1); time.sleep(60)",
    "interrupts": "raise KeyboardInterrupt",
    "generator-exit": "raise GeneratorExit",
    "stop-iteration": "raise StopIteration",
    "base-exception": "raises('B', BaseException)",
    "no-text": "raises('E', __str__=lambda s: 1 / 0)",
    "no-text-at-all": "raises('E', BaseException, __str__=lambda s: sys.exit(0), __repr__=lambda s: sys.exit(0))",
    "odd-notes": "raises('E', __notes__=3)",
    "long-text": "raise ValueError('x' * 10**7)",
    "many-lines": "raise ValueError('line\\n' * 10**5)",
    "control-characters": "raise ValueError('\\x1b[2J\\x07\\x00 [/red] <script> =1+1')",
    "surrogates": "raise ValueError('\\udcff')",
    "own-error": "raise Own(1, 2)",
    "usage-error": "raise UsageError('no')",
    "memory-error": "raise MemoryError",
    "no-memory": "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**20, 2**20)); return np.ones(10**8)",
    "recursion": "return self.score(e)",
    "evil-cause": "\n        try: raises('E', __repr__=lambda s: sys.exit(0))\n        except Exception as error: raise ValueError('v') from error",  # noqa: E501
    "closes-files": "os.closerange(0, 1000); return good(e)",
    "no-files": "import resource; os.closerange(3, 100); resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0)); return good(e)",  # noqa: E501
    "returns-nothing": "return None",
    "returns-text": "return 'scores'",
    "returns-texts": "return ['0.5'] * e.n",
    "returns-a-function": "return lambda: 0",
    "returns-a-generator": "return (x for x in good(e))",
    "returns-complex": "return good(e) * 1j",
    "returns-objects": "return np.array([object()] * e.n)",
    "returns-nan": "return good(e) * float('nan')",
    "returns-infinity": "return good(e) + float('inf')",
    "returns-too-few": "return good(e)[1:]",
    "returns-a-matrix": "return good(e)[:, None]",
    "returns-huge-numbers": "return [10**400] * e.n",
    "returns-lies": "return Lying()",
    "returns-explosives": "return Exploding()",
    "returns-a-record": "return np.zeros(e.n, dtype=[('a', float)])",
    "returns-a-dict": "return dict(enumerate(good(e)))",
    "returns-ragged": "return [[1], [1, 2]]",
    "asks-for-more": "return e.query(np.zeros((1, 8, 8, 1)))",
    "asks-for-the-model": "return e.model()",
    "removes-modules": "sys.modules.clear(); import json; return good(e)",
    "removes-built-ins": "vars(builtins).clear(); return good(e)",
    "replaces-pickle": "from multiprocessing.reduction import ForkingPickler as F; F.dumps = classmethod(lambda c, o, p=None: b'x'); return good(e)",  # noqa: E501
}
SOUND = {
    "sound": "return good(e)",
    "patches-metrics": "import privbench.stats.metrics as m; m.best_threshold = m.evaluate = lambda *a, **k: 0.0; return good(e)",  # noqa: E501
    "patches-numpy": "np.argsort = np.sort = np.mean = lambda *a, **k: np.zeros(3); return good(e)",
    "patches-torch": "import torch; torch.nn.functional.cross_entropy = torch.manual_seed = None; return good(e)",
    "patches-json": "import json; json.dumps = json.loads = lambda *a, **k: '{}'; return good(e)",
    "patches-open": "s = good(e); builtins.open = None; return s",
    "changes-dtype": "import torch; torch.set_default_dtype(torch.float64); torch.set_num_threads(4); return good(e)",
    "changes-folder": "os.chdir('/'); os.umask(0o777); os.environ.clear(); return good(e)",
    "changes-locale": "import locale; locale.setlocale(0, 'C'); warnings.simplefilter('error'); return good(e)",
    "changes-numpy": "np.seterr(all='raise'); np.random.seed(0); np.set_printoptions(precision=1); return good(e)",
    "changes-python": "gc.disable(); sys.setrecursionlimit(200); os.nice(5); return good(e)",
    "ignores-signals": "[signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15)]; return good(e)",
    "closes-output": "os.close(1); return good(e)",
    "prints": "os.write(1, b'\\x1b[2J' * 10**5); print('Traceback?'[:0], file=sys.stderr); return good(e)",
    "leaves-a-thread": "threading.Thread(target=loop).start(); return good(e)",
    "leaves-a-hook": "atexit.register(loop); return good(e)",
    "leaves-a-process": "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); return good(e)",
    "leaves-a-daemon": "subprocess.Popen(['sleep', '600'], start_new_session=True); return good(e)",
    "forks": "os.fork(); return good(e)",
    "forks-and-exits": "os.fork() or os._exit(0); return good(e)",
    "overwrites-evidence": "\n        try: e.labels[:] = 0\n        except ValueError: pass\n        return good(e)",
    "returns-an-odd-array": "return good(e).view(Odd)",
    "returns-a-tensor": "import torch; return torch.tensor(good(e), requires_grad=True)",
    "returns-whole-numbers": "return [int(x) for x in good(e)]",
    "returns-much": "s = good(e); self.__dict__['x'] = np.ones(10**7); return s",
}
"""What is harmless to the attack itself, and may have a result or not."""
LATE = {
    "loops": "loop()",
    "sleeps": "time.sleep(600)",
    "stops": "os.kill(os.getpid(), signal.SIGSTOP)",
    "loops-in-c": "return sum(iter(int, 1))",
}
FINDINGS = {
    "findings-fail": "def findings(self, e, scores): os._exit(0)",
    "findings-nan": "def findings(self, e, scores): return {'a': float('nan')}",
    "findings-text": "def findings(self, e, scores): return {'a': 'b', 3: object()}",
    "findings-none": "def findings(self, e, scores): return None",
    "findings-endless": "def findings(self, e, scores): return ((str(i), i) for i in iter(int, 1))",
    "findings-spoil-scores": "def findings(self, e, scores): scores[:] = 0; return {'a': 1.0}",
    "judged-exits": "def findings(self, e, scores): return {'a': 1.0}\n    def judged(self, found, scores, member): os._exit(0)",  # noqa: E501
    "judged-raises": "def findings(self, e, scores): return {}\n    def judged(self, found, scores, member): raise KeyboardInterrupt",  # noqa: E501
}
KEPT = {
    "keeps-odd-keys": "e.ctx.kept('x', {'k': object()}, lambda ctx: {'a': np.zeros(1)}); return good(e)",
    "keeps-objects": "e.ctx.kept('x', {'k': 1}, lambda ctx: {'a': np.array([object()])}); return good(e)",
    "keeps-outside": "e.ctx.kept('../../../x', {'k': 1}, lambda ctx: {'../../../y': np.zeros(1)}); return good(e)",
    "keeps-nothing": "e.ctx.kept('x', {'k': 2}, lambda ctx: None); return good(e)",
}


@pytest.fixture(scope="module")
def evil(lab):
    """Install a plugin with all of these attacks; return its name."""
    source, classes = HEAD, []
    bodies = FAILING | SOUND | LATE | dict.fromkeys(FINDINGS, "return good(e)") | KEPT
    for name, body in bodies.items():
        cls = "".join(word.title() for word in name.split("-"))
        needs = "training=True" if name in KEPT else ""
        more = f"    {FINDINGS[name]}\n" if name in FINDINGS else ""
        source += COMPONENT.format(cls=cls, name=f"evil-{name}", needs=needs, body=body, more=more)
        classes.append(cls)
    return lab.plugin("evil", f"{source}\n@hookimpl\ndef register_attacks(): return [{', '.join(classes)}]\n")


def test_attacks_that_misbehave_spoil_their_own_cells_alone(lab, evil, reference, survived):
    expected = {key: {"failed"} for key in FAILING} | {key: {"failed", "ok"} for key in [*SOUND, *FINDINGS, *KEPT]}
    expected["sound"] = expected["forks"] = {"ok"}
    expected |= {
        key: {"failed"} for key in ["findings-fail", "findings-nan", "findings-text", "judged-exits", "judged-raises"]
    }
    expected["findings-endless"] = {"failed"}
    expected = {name: (("ce", f"evil-{name}"), statuses) for name, statuses in expected.items()}
    names = [word for name in expected for word in ("--attack", f"evil-{name}")]
    done = lab.run(
        *names[: len(names) // 4 * 2], "--attack", "confidence", *names[len(names) // 4 * 2 :], plugins=[evil]
    )
    survived("attacks", lab.harm(done, "out", reference, expected))
    done = lab.run("--attack", "confidence", out="after")
    assert done.returncode == 0
    assert "Training" not in done.stderr
    assert lab.records("after")["ce", "confidence"] == reference


def test_attacks_that_never_end_are_stopped(lab, evil, reference, survived):
    names = [word for name in LATE for word in ("--attack", f"evil-{name}")]
    done = lab.run(*names, "--attack", "confidence", "--timeout", "10", "--jobs", "5", out="late", plugins=[evil])
    cells = {name: ("ce", f"evil-{name}") for name in LATE}
    survived("attacks", lab.harm(done, "late", reference, {name: (cells[name], {"failed"}) for name in LATE}))
    assert {lab.records("late")[cell]["reason"] for cell in cells.values()} == {
        "It was stopped after 10 s; see --timeout."
    }
