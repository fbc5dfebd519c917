"""Damage to what is stored is noticed, and made good in one run, or told."""

import shutil


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


WAYS = {"flipped": flip, "cut": cut, "empty": empty, "removed": lambda path: path.unlink()}


def test_damage_to_the_store_changes_no_number(lab, reference, survived):
    store = lab.root / "store"
    kinds = sorted(
        {(path.parts[-4], path.name) for path in store.rglob("*") if path.is_file() and path.name != "timing.json"}
    )
    assert len(kinds) >= 4
    harm = {}
    for way, damage in WAYS.items():
        shutil.copytree(store, lab.root / way)
        for number, (kind, name) in enumerate(kinds):  # each of another model, as far as there are models
            paths = sorted((lab.root / way / kind).rglob(name))
            damage(paths[number % len(paths)])
        done = lab.run("--attack", "confidence", store=way, out=f"out-{way}")
        found = lab.records(f"out-{way}").get(("ce", "confidence"), {"status": "missing"})
        what = ""
        if "Traceback" in done.stderr or (done.returncode, found["status"]) not in {(0, "ok"), (1, "failed")}:
            what = f"exit code {done.returncode}, status {found['status']}: {done.stderr[-800:]}"
        elif found["status"] == "ok" and found != reference:
            what = "another number"
        again = lab.run("--attack", "confidence", store=way, out=f"again-{way}")
        if again.returncode or lab.records(f"again-{way}").get(("ce", "confidence")) != reference:
            what = what or f"not made good: {again.stderr[-800:]}"
        harm |= {f"{way} {kind}/{name}": what for kind, name in kinds}
    survived("damage", harm)
