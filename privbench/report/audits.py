"""Results of audits as text: values with intervals, small tables, and notes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privbench import escapes
from privbench.escapes import printable
from privbench.records.comparable import device_text
from privbench.report.tables import markdown_lines
from privbench.stats.intervals import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from privbench.records.audit_record import AuditRecord

NA = "n/a"
LARGE, SMALL = 1e5, 1e-3


def render(record: AuditRecord) -> RenderableType:
    """Return the record of an audit for a terminal."""
    from rich.console import Group
    from rich.text import Text

    title = Text(printable(_title(record)), style="bold")
    models = "1 model" if record.models == 1 else f"{record.models} models"
    salt = f", salt {record.salt[:8]}..." if record.salt else ""
    caption = Text(
        f"{models}, seed {record.seed}{salt}, {printable(device_text([record]))}; 95 % intervals", style="dim"
    )
    if record.status == "failed":
        return Group(title, Text(printable(f"failed: {record.reason}")))
    values = [{"value": name.replace("_", " "), "": text(value)} for name, value in record.values.items()]
    parts: list[RenderableType] = [title, caption, _table(values)]
    for name, rows in record.tables.items():
        parts += [Text(printable(name), style="bold"), _table(rows)]
    return Group(*parts, *map(Text, map(printable, record.notes)), Text(""))


def markdown(record: AuditRecord) -> str:
    """Return the record of an audit as Markdown."""
    lines = [f"### {escapes.markdown(_title(record))}", ""]
    if record.status == "failed":
        return "\n".join([*lines, escapes.markdown(f"failed: {record.reason}"), ""])
    lines += _grid(["value", ""], [[name, text(value)] for name, value in record.values.items()])
    for name, rows in record.tables.items():
        columns = _columns(rows)
        lines += [
            "",
            escapes.markdown(name),
            "",
            *_grid(columns, [[text(row.get(column)) for column in columns] for row in rows]),
        ]
    return "\n".join([*lines, "", *(f"- {escapes.markdown(note)}" for note in record.notes), ""])


def _title(record: AuditRecord) -> str:
    return f"{record.audit.spec} of {record.defense.spec} on {record.task.spec}"


def text(value: Any) -> str:
    """Return a value as text: "0.31 [0.25, 0.38]", "n/a (why)"."""
    if isinstance(value, Estimate):
        if value.value is None:
            return f"{NA} ({value.note})" if value.note else NA
        shown = text(value.value)
        return shown if value.low is None else f"{shown} [{text(value.low)}, {text(value.high)}]"
    if value is None:
        return NA
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        plain = value == 0 or SMALL <= abs(value) < LARGE
        return f"{value:.4g}" if plain else f"{value:.3e}"
    return str(value)


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
    columns = _columns(rows)
    for column in columns:
        numeric = all(isinstance(row.get(column), int | float | None) for row in rows)
        table.add_column(printable(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(printable(text(row.get(column))) for column in columns))
    return table


def _columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _grid(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    return markdown_lines([head, ["---"] * len(head), *body])
