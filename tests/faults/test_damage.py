"""Damage to what is stored is noticed before it is used, and made good in the same run."""

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
        what = (
            ""
            if done.returncode == 0 and "Traceback" not in done.stderr
            else f"exit code {done.returncode}: {done.stderr}"
        )
        if lab.records(f"out-{way}").get(("ce", "confidence")) != reference:
            what = what or "another number"
        harm |= {f"{way} {kind}/{name}": what for kind, name in kinds}
    survived("damage", harm)
