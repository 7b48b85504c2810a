"""What a benchmark says: rows of one shape, shown as one table, handed on as JSON.

The rule: a figure stands beside a limit or beside a peer that was measured in the same run, so that
what else the machine does weighs on both. A limit is of the ratio where there is a peer. A name
holds nothing that differs from run to run (that goes into `note`), so that two runs can be
compared.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure."""

    name: str
    value: float
    unit: str = ""
    peer: str = ""
    """What it was measured against, with the peer's own figure; empty where that is a limit."""
    ratio: float | None = None
    """Of the value to the peer's, else to the limit; None where there is neither."""
    bound: str = ""
    """`<= 10 ms` or `>= 0.7`; empty where it is said only for its own sake."""
    ok: bool = True
    less_is_better: bool = True
    note: str = ""


def limited(
    name: str,
    value: float,
    unit: str = "",
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    note: str = "",
) -> Row:
    """A figure against its limit, of which one is to be given."""
    limit = at_most if at_most is not None else at_least
    assert limit is not None, name
    return Row(
        name=name,
        value=value,
        unit=unit,
        ratio=value / limit if limit else None,
        bound=_bound(at_most, at_least, unit),
        ok=_within(value, at_most, at_least),
        less_is_better=at_most is not None,
        note=note,
    )


def compared(
    name: str,
    value: float,
    unit: str,
    peer: tuple[str, float],
    *,
    ratio: float | None = None,
    at_most: float | None = None,
    at_least: float | None = None,
    less_is_better: bool = False,
    note: str = "",
) -> Row:
    """A figure against a peer's of the same run; the limit, where there is one, is of the ratio.

    Args:
        name: of the figure.
        value: ours.
        unit: of both.
        peer: its name, and its figure.
        ratio: where it is not simply that of both, but a median of rounds.
        at_most: limit of the ratio; then less is better.
        at_least: limit of the ratio.
        less_is_better: where neither limit says so.
        note: what differs from run to run and should be known.
    """
    who, figure = peer
    found = ratio if ratio is not None else value / figure
    return Row(
        name=name,
        value=value,
        unit=unit,
        peer=f"{who} {number(figure)} {unit}".rstrip(),
        ratio=found,
        bound=_bound(at_most, at_least),
        ok=_within(found, at_most, at_least),
        less_is_better=at_most is not None or less_is_better,
        note=note,
    )


def noted(name: str, value: float, unit: str = "", *, note: str = "") -> Row:
    """A figure without a limit and without a peer, for sizing."""
    return Row(name=name, value=value, unit=unit, note=note)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The arguments that every benchmark has; `doc` is the docstring of its module."""
    made = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    made.add_argument("--quick", action="store_true", help="small numbers: it works, nothing more")
    made.add_argument("--rows", type=Path, help="file to write the rows to, as JSON")
    made.add_argument("--pages", type=Path, help="directory for a page of its own, if it has one")
    return made


def chosen(made: argparse.ArgumentParser, quick: Mapping[str, object]) -> argparse.Namespace:
    """The arguments of this process; those of `quick` are the defaults with `--quick`."""
    if "--quick" in sys.argv[1:]:
        made.set_defaults(**quick)
    return made.parse_args()


def end(rows: Sequence[Row], arguments: argparse.Namespace) -> int:
    """Show the rows and hand them on; the exit status, which is 1 where a limit is missed.

    Small numbers prove nothing, so a quick run misses no limit.
    """
    print(text(rows), end="", flush=True)
    if arguments.rows:
        arguments.rows.write_bytes(msgspec.json.encode(list(rows)))
    return 0 if arguments.quick or all(row.ok for row in rows) else 1


def text(rows: Iterable[Row]) -> str:
    """The rows as aligned text."""
    head = ("figure", "value", "against", "ratio", "limit", "", "")
    return aligned([head, *((*cells(row), row.note) for row in rows)])


def cells(row: Row) -> tuple[str, str, str, str, str, str]:
    """Name, value, peer, ratio, limit, and `MISSED` where it is."""
    return (
        row.name,
        f"{number(row.value)} {row.unit}".rstrip(),
        row.peer,
        "" if row.ratio is None else f"{row.ratio:.2f}",
        row.bound,
        "" if row.ok else "MISSED",
    )


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "".join(f"{line.rstrip()}\n" for line in padded)


def number(value: float) -> str:
    """A number as people read it: three digits that count, thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _bound(at_most: float | None, at_least: float | None, unit: str = "") -> str:
    if at_most is not None:
        return f"<= {at_most:g} {unit}".rstrip()
    return f">= {at_least:g} {unit}".rstrip() if at_least is not None else ""


def _within(value: float, at_most: float | None, at_least: float | None) -> bool:
    above = at_most is not None and value > at_most
    below = at_least is not None and value < at_least
    return not above and not below
