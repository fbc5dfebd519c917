"""Texts from outside in each format of output."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privbench import escapes

SOUND = ["lira:mode=offline", "caf\u00e9 \u65e5\u672c", "3.1 [2.5, 3.8]*", "~12.0", "-", "", "a-b_c (1e-05)"]
ANY = st.text(st.characters(exclude_categories=())) | st.sampled_from(["\x1b[31m", "a\rb", "\u202egnp", "\udcff"])


@pytest.mark.parametrize("text", SOUND)
def test_sound_texts_are_unchanged(text):
    assert escapes.printable(text) == text
    assert escapes.one_line(text) == text
    assert escapes.markdown(text) == text
    if text != "-":
        assert escapes.csv(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\rb\nc\td", r"a\rb\nc\td"),
        ("\x9b31m\x7f\x00", r"\x9b31m\x7f\x00"),
        ("invoice\u202egnp.exe \u2066x\u2069", r"invoice\u202egnp.exe \u2066x\u2069"),
        ("line\u2028break\ufeff", r"line\u2028break\ufeff"),
        ("caf\u00e9 b\udcff.npz \ud800", r"café b\xff.npz \ud800"),
    ],
)
def test_hidden_characters_show(text, shown):
    assert escapes.printable(text) == shown
    assert escapes.printable(shown) == shown


def test_lines_stay_lines_where_there_are_several():
    assert escapes.printable_lines("a\r\n\x1bb") == "a\\r\n\\x1bb"
    assert escapes.one_line(" a\n\tb\x1b ") == "a b\\x1b"


@given(ANY)
def test_no_text_moves_the_cursor_or_fails_to_encode(text):
    for escape in (escapes.printable, escapes.one_line, escapes.markdown, escapes.latex, escapes.csv):
        shown = escape(text)
        shown.encode("utf-8")
        assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)
        assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("a | b", r"a \| b"),
        (r"a\|b", r"a\\\|b"),
        ("![x](http://host/pixel.png)", "![x]\\\\(http://host/pixel.png)"),
        ("[a]: http://host", "[a]\\\\: http://host"),
        ("&lt;b&gt;", "&amp;lt;b&amp;gt;"),
        ("a\n\n# b", r"a\\n\\n# b"),
    ],
)
def test_markdown(text, shown):
    assert escapes.markdown(text) == shown.replace("]\\\\", "]\\")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("50 % & $x^2$", r"50 \% \& \$x\textasciicircum{}2\$"),
        ("[3pt] *", "{[}3pt] *"),
        ("*2", "{*}2"),
        ("a\nb", r"a\textbackslash{}nb"),
    ],
)
def test_latex(text, shown):
    assert escapes.latex(text) == shown


@pytest.mark.parametrize(
    "text", ['=HYPERLINK("http://host")', "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", " =1+1", "\uff1d1", "-"]
)
def test_no_formula_is_live_in_csv(text):
    assert escapes.csv(text) == f"'{text}"


@pytest.mark.parametrize("value", [-1.5, 3, None, True, "-1.5", "+2", "1e-05", "lira"])
def test_numbers_stay_numbers_in_csv(value):
    assert escapes.csv(value) is value or escapes.csv(value) == value


@given(ANY)
def test_a_cell_of_csv_stays_one_cell(text):
    out = io.StringIO()
    csv.writer(out).writerow([escapes.csv(text), 1])
    assert len(list(csv.reader(io.StringIO(out.getvalue())))) == 1
