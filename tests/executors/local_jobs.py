"""What workers do in the tests here: top-level functions of a module that imports nothing heavy."""

import builtins
import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from privbench.errors import DataError, OnlyAlone, PrivbenchError


def wait_until(happened):
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


def outcomes(executor, function, jobs, **options):
    return sorted(executor.run(function, jobs, **options), key=lambda outcome: outcome.index)


def pooled(executor, calls):
    """Return the outcomes of calls in the order of their submission, and the order in which they ended."""
    with executor.pool() as pool:
        for call in calls:
            pool.submit(call)
        found = list(pool.outcomes())
    return sorted(found, key=lambda outcome: outcome.index), [outcome.index for outcome in found]


def square(job, report):
    report(0.5, "squaring")
    return job * job


def nap(job, report):
    time.sleep(0.2)
    return job


def environment(job, report):
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    heavy = sorted({"numpy", "torch"} & set(sys.modules))
    time.sleep(0.2)
    return {name: os.environ.get(name) for name in names}, heavy, os.getpid()


def chatter(job, report):
    for i in range(job):
        report(i / job, f"step {i}")
    report(7, "over")
    time.sleep(0.25)
    report(7, "over")


class WordyError(PrivbenchError):
    """An error that pickle cannot rebuild."""

    def __init__(self, left, right):
        super().__init__(f"{left} and {right}")


class Unloadable:
    def __reduce__(self):
        return (int, ("no number",))


def fail(job, report):
    if job == "ours":
        raise DataError("no such data")
    if job == "wordy":
        raise WordyError("one", "two")
    if job == "theirs":
        raise ValueError("several\n  lines\n" + "x" * 1000)
    if job == "exit":
        sys.exit(3)
    if job == "lambda":
        return lambda: None
    if job == "unloadable":
        return Unloadable()
    return job


class Unsendable:
    def __reduce__(self):
        raise TypeError("stays at home")


class Unreadable:
    def __reduce__(self):
        return (explode, ())


def explode():
    raise DataError("the data changed")


def die(job, report):
    """Die always ("always"), the first time (a path), or never."""
    if job == "always":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "leave":
        os._exit(5)
    if isinstance(job, Path) and not job.exists():
        job.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.1)
    return job


def touch(job, report):
    job.touch()


def die_or_touch(job, report):
    """Die the first time that a job is called "once"."""
    seen = job.exists()
    job.touch()
    if job.name == "once" and not seen:
        os.kill(os.getpid(), signal.SIGKILL)


def hold(job, report):
    """Hold a lock, which the system frees when the process is gone, and work until then."""
    if job == "none":
        return
    with Path(job).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        report(0.0, "held")
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(600)
        Path(job + ".interrupted").touch()
        time.sleep(600)


def is_free(path):
    with Path(path).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class Text(Exception):  # noqa: N818
    """An error that can be neither told nor shown."""

    __notes__ = None

    def __str__(self):
        raise ZeroDivisionError

    __repr__ = __str__


class Base(BaseException):
    """An error that `except Exception` does not catch."""


def caused(job, report):
    try:
        raises(Text())
    except Text as error:
        raise DataError("its cause is odd") from error


def raises(error):
    raise error


def recurse(depth=0):
    return recurse(depth + 1) + 1


def fork():
    """Go on in two processes."""
    os.fork()
    return "both"


def forked_reports(report):
    if not os.fork():
        report(0.5, "from the child")
        os._exit(3)
    os.wait()
    return "parent"


MISBEHAVIOURS = {
    "text": lambda: raises(Text()),
    "base": lambda: raises(Base("base")),
    "interrupt": lambda: raises(KeyboardInterrupt()),
    "generator exit": lambda: raises(GeneratorExit()),
    "memory": lambda: raises(MemoryError()),
    "recursion": recurse,
    "exit": sys.exit,
    "hard exit": lambda: os._exit(0),
    "segmentation fault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "terminate": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "kill its group": lambda: os.killpg(0, signal.SIGKILL),
    "kill its parent": lambda: os.kill(os.getppid(), signal.SIGKILL) or time.sleep(60),
    "close files": lambda: os.closerange(3, 1000),
    "close files and stay": lambda: os.closerange(3, 1000) or time.sleep(60),
}


def misbehave(job, report):
    """Misbehave as named, or do as the others do."""
    return MISBEHAVIOURS[job]() if job in MISBEHAVIOURS else job


def be(job, report):
    """Return something odd, or fork."""
    if job == "fork":
        return fork()
    if job == "fork and report":
        return forked_reports(report)
    if job == "nan":
        report(float("nan"), "no share")
    if job == "thread":
        threading.Thread(target=time.sleep, args=(600,)).start()
    return job


def leave_traces(job, report):
    """Change everything that a process has, and return what earlier calls left."""
    found = getattr(builtins, "trace", None)
    builtins.trace = job
    sys.modules["left_behind"] = sys
    os.environ["LEFT_BEHIND"] = job
    os.umask(0)
    os.chdir("/")
    return found


def traces(job, report):
    umask = os.umask(0o22)
    os.umask(umask)
    left = ("left_behind" in sys.modules, hasattr(builtins, "trace"), "LEFT_BEHIND" in os.environ, umask == 0)
    return any(left), Path.cwd(), os.getpid()


def process(job, report):
    return os.getpid()


def asks(job, report):
    return [report.ask(each) for each in job]


def asks_and_dies(job, report):
    report.ask(job)
    os.kill(os.getpid(), signal.SIGKILL)


def asks_from_a_thread(job, report):
    said = []

    def ask():
        try:
            report.ask(job)
        except PrivbenchError as error:
            said.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return said


class OutOfMemoryError(RuntimeError):
    """As torch has one."""


_running = set()
_most = []


def in_lanes(job, report):
    """Run for a while, and return how many calls ran beside this one, in this process."""
    _running.add(job)
    _most.append(len(_running))
    time.sleep(0.05)
    _running.discard(job)
    return job, os.getpid(), threading.current_thread() is threading.main_thread()


def needs_memory(job, report):
    """Fail where more than some calls run at once."""
    name, at_most = job
    _running.add(name)
    try:
        for _ in range(10):
            if len(_running) > at_most:
                raise OutOfMemoryError("CUDA out of memory")
            time.sleep(0.01)
        return name
    finally:
        _running.discard(name)


def waits_for(job, report):
    """Wait until a file exists."""
    wait_until(job.exists)


def only_alone(job, report):
    """Refuse to work anywhere but in the main thread, if it is the job for that."""
    time.sleep(0.05)
    main = threading.current_thread() is threading.main_thread()
    if job == "alone" and not main:
        raise OnlyAlone("it draws from global generators.")
    if job == "never":
        raise OnlyAlone("not even by itself.")
    return job, main


_broken = threading.Event()


def breaks_the_device(job, report):
    """One call breaks the device of its process, for all that is beside it or comes later."""
    time.sleep(0.05)
    if job == "breaks":
        _broken.set()
    time.sleep(0.05)
    if _broken.is_set():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    return job


def dies_in_lanes(job, report):
    time.sleep(0.05)
    if job == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return job


def naps_in_lanes(job, report):
    time.sleep(60 if job == "late" else 0.05)
    return job


LOCKED = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); time.sleep(600)"  # noqa: E501


def child(job, report):
    """Start a process that holds a lock, in a group of its own or not, and wait, die, or return."""
    path, apart, then = job
    started = subprocess.Popen([sys.executable, "-c", LOCKED, path], stdout=subprocess.PIPE, start_new_session=apart)
    started.stdout.readline()
    report(0.0, "held")
    if then == "waits":
        time.sleep(600)
    if then == "dies":
        os._exit(1)


def parents(job, report):
    return os.getppid()


def imported(job, report):
    return job in sys.modules


def prints(job, report):
    os.write(1, f"{job}\n".encode())


def loops(job, report):
    while True:
        pass


def starts_workers(job, report):
    from privbench.executors.local import LocalProcesses

    return list(LocalProcesses(1).run(square, [job]))


def child_once(job, report):
    """Start a process that holds a lock, and wait, the first time; return the next time."""
    path, once = job
    if not Path(once).exists():
        started = subprocess.Popen([sys.executable, "-c", LOCKED, path], stdout=subprocess.PIPE)
        started.stdout.readline()
        Path(once).touch()
        time.sleep(600)


def surroundings(job, report):
    return sys.path[0], str(Path.cwd())


_remembered = []


def remember():
    _remembered.append(os.getpid())


def remembered(job, report):
    return _remembered and os.getpid() not in _remembered
