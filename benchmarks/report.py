"""Figures with their units and aims, as tables for people and as JSON for scripts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Number = int | float


@dataclass(frozen=True, kw_only=True)
class Aim:
    """The aim for a figure, in its unit: at most `limit`, or at least that."""

    limit: Number
    at_least: bool = False

    def met(self, value: Number) -> bool:
        """Return whether a value meets the aim; a value equal to the limit does."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {shown(self.limit)}"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number; None if this machine cannot measure it."""

    name: str
    value: Number | None
    unit: str
    aim: Aim | None = None

    @property
    def verdict(self) -> str:
        """`met`, `missed`, or empty for a figure without an aim."""
        if self.aim is None or self.value is None:
            return ""
        return "met" if self.aim.met(self.value) else "missed"

    def as_json(self) -> dict[str, Any]:
        """Return `{"value": ..., "unit": ...}`, with `aim` and `verdict` if there is an aim."""
        value = round(self.value, 3) if isinstance(self.value, float) else self.value
        found: dict[str, Any] = {"value": value, "unit": self.unit}
        if self.aim:
            found |= {"aim": {"at_least" if self.aim.at_least else "at_most": self.aim.limit}, "verdict": self.verdict}
        return found


@dataclass(kw_only=True)
class Section:
    """A section of the report: rows of figures by label."""

    name: str
    """Its key in JSON."""
    title: str
    note: str = ""
    matrix: bool = False
    """True if all rows have the same figures, and are shown as the rows of one table."""
    rows: dict[str, list[Figure]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return `{row: {figure: {...}}}`, with `note` if there is one."""
        rows: dict[str, Any] = {label: {each.name: each.as_json() for each in row} for label, row in self.rows.items()}
        return rows | ({"note": self.note} if self.note else {})


def shown(value: Number | None) -> str:
    """Return a number with about three significant digits and all those before the point; `?` for None."""
    if value is None:
        return "?"
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def show(console: Console, sections: Sequence[Section]) -> None:
    """Print every section as a table."""
    for section in sections:
        table = Table(box=None, pad_edge=False, header_style="bold", title=section.title, title_justify="left")
        (_fill_matrix if section.matrix else _fill_list)(table, section)
        console.print(table)
        if section.note:
            console.print(f"[dim]{escape(section.note)}[/dim]")
        console.print()


def _fill_matrix(table: Table, section: Section) -> None:
    heads = next(iter(section.rows.values()))
    table.add_column("")
    for each in heads:
        table.add_column(f"{each.name}\n[dim]{each.unit}[/dim]", justify="right")
    for label, row in section.rows.items():
        table.add_row(label, *(_cell(each) for each in row))


def _fill_list(table: Table, section: Section) -> None:
    table.add_column("")
    for head, justify in (("value", "right"), ("unit", "left"), ("aim", "right"), ("", "left")):
        table.add_column(head, justify="right" if justify == "right" else "left")
    for label, row in section.rows.items():
        for each in row:
            name = f"{label}: {each.name}" if len(section.rows) > 1 else each.name
            table.add_row(name, shown(each.value), each.unit, str(each.aim or ""), _coloured(each))


def _cell(figure: Figure) -> str:
    text = shown(figure.value)
    return f"{text} ({figure.aim} {_coloured(figure)})" if figure.aim else text


def _coloured(figure: Figure) -> str:
    colour = {"met": "green", "missed": "red"}.get(figure.verdict)
    return f"[{colour}]{figure.verdict}[/{colour}]" if colour else ""
