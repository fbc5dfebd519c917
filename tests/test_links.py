"""Every link of every page leads somewhere: to a file that is there, and to a heading in it.

Needs nothing but pytest: `tox -e light` runs it too. Pages are read as a forge shows them, so an anchor is a
heading's words, in lower case, without punctuation and with dashes for spaces. What lies on the web is left alone.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(page for name in ("docs", "leaderboards", "benchmarks", "plugins") for page in (ROOT / name).rglob("*.md")),
]
CODE = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$|(`+)(?!`).+?(?<!`)\3(?!`)", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)|(?:src|href)=\"([^\"]+)\"", re.MULTILINE)
HEADING = re.compile(r"^#{1,6} +(.+?)(?: +#+)? *$", re.MULTILINE)


def anchors(text):
    """Return the anchors of a page; a heading that comes again gets -1, -2, ..."""
    found, seen = set(re.findall(r"(?:id|name)=\"([^\"]+)\"", text)), {}
    for title in HEADING.findall(FENCE.sub("", text)):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        again = seen[slug] = seen.get(slug, -1) + 1
        found.add(f"{slug}-{again}" if again else slug)
    return found


def targets(text):
    """Return what a page links to, less the web."""
    found = ("".join(groups) for groups in LINK.findall(CODE.sub("", text)))
    return [target for target in found if not re.match(r"https?://|mailto:", target)]


def broken(page, root):
    """Return what is wrong with a page's links, a line each."""
    found = []
    for target in targets(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        if not aim.is_relative_to(root.resolve()):
            found.append(f"{target}: leads out of the repository")
        elif not aim.exists():
            found.append(f"{target}: is not there")
        elif anchor and aim.suffix == ".md" and anchor not in anchors(aim.read_text(encoding="utf-8")):
            found.append(f"{target}: no heading is called that")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    assert broken(page, ROOT) == []


def test_every_page_of_the_docs_is_linked_from_another():
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in targets(page.read_text(encoding="utf-8"))
        if not target.startswith("#")
    }
    assert [page.name for page in (ROOT / "docs").glob("*.md") if page.resolve() not in linked] == []


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("[x](there.md)", []),
        ("[x](there.md#what-it-is)", []),
        ("[x](there.md#twice-1) [x](there.md#a-link)", []),
        ("[two\nlines](there.md#what-it-is)", []),
        ("[x](https://gone.example/a#b)", []),
        ("`[x](gone.md)` and\n\n```\n[x](gone.md)\n```\n", []),
        ("[x](#own)\n\n# Own\n", []),
        ("[x](gone.md)", ["gone.md: is not there"]),
        ("![picture](gone.png)", ["gone.png: is not there"]),
        ("[x]: gone.md", ["gone.md: is not there"]),
        ('<img src="gone.png">', ["gone.png: is not there"]),
        ("[x](there.md#gone)", ["there.md#gone: no heading is called that"]),
        ("[x](there.md#not-a-heading)", ["there.md#not-a-heading: no heading is called that"]),
        ("[x](#gone)", ["#gone: no heading is called that"]),
        ("[x](../../up.md)", ["../../up.md: leads out of the repository"]),
    ],
)
def test_what_is_broken_is_found(tmp_path, link, problem):
    (tmp_path / "there.md").write_text(
        "# `What` it *is*?\n## Twice\n## Twice\n### [A link](x)\n```\n# not a heading\n```\n"
    )
    page = tmp_path / "page.md"
    page.write_text(link)
    assert broken(page, tmp_path) == problem
