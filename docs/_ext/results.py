"""The directive ``results``: a table that is made of a CSV of experiments/results when the site is built.

::

    :::{results} multigoal.csv
    :rows: algo
    :values: tv_origin as "Total variation" .3f; mean_return as "Return" .1f list
    :where: ent_coef=5.0
    :labels: sac=SAC; sac_ardae=SACARDAE
    :::

Rows of the CSV that agree in the columns ``rows`` (and ``columns``, which is spread over columns of the table) are
summarized, by their mean unless a value says "list", "range", "min", "max" or "count". The line below the table names
the file and the versions that its numbers come from. A new CSV changes the page.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

RESULTS = Path(__file__).parents[2] / "experiments/results"
Record = dict[str, str]
VALUE = re.compile(
    r'(?P<name>[\w-]+)(?: as "(?P<title>[^"]*)")?(?: (?P<format>[.,]?\d*[.,]?\d*[fg%]))?(?: (?P<summary>\w+))?'
)


def _mean(values: Sequence[str], form: Callable[[str], str]) -> str:
    numbers = [float(value) for value in values]
    return form(str(sum(numbers) / len(numbers)))


SUMMARIES: dict[str, Callable[[Sequence[str], Callable[[str], str]], str]] = {
    "mean": _mean,
    "list": lambda values, form: ", ".join(map(form, values)),
    "range": lambda values, form: " to ".join(
        dict.fromkeys([form(min(values, key=float)), form(max(values, key=float))])
    ),
    "min": lambda values, form: form(min(values, key=float)),
    "max": lambda values, form: form(max(values, key=float)),
    "count": lambda values, form: str(len(values)),
}


@dataclass(frozen=True)
class Value:
    """A column of numbers.

    :param name: Column of the CSV.
    :param title: Heading of the table's column.
    :param format: Format of a number, as in Python; the text of the CSV if it is empty.
    :param summary: How several rows become one text: a name in ``SUMMARIES``.
    """

    name: str
    title: str
    format: str = ""
    summary: str = "mean"

    @classmethod
    def parse(cls, text: str) -> Value:
        """Read ``name as "Title" .2f mean``, of which the name alone is required."""
        found = VALUE.fullmatch(text.strip())
        if found is None or (found["summary"] or "mean") not in SUMMARIES:
            raise ValueError(f'a value must have the form: name as "Title" .2f {"|".join(SUMMARIES)}, got {text!r}')
        title = found["name"].replace("_", " ") if found["title"] is None else found["title"]
        return cls(found["name"], title, found["format"] or "", found["summary"] or "mean")

    def cell(self, records: Sequence[Record]) -> str:
        """Return the text for the rows of the CSV that fall into one cell."""
        values = [record[self.name] for record in records if record[self.name] not in ("", "nan")]
        return SUMMARIES[self.summary](values, self._form) if values else ""

    def _form(self, text: str) -> str:
        return format(float(text), self.format) if self.format else text


def read(path: Path, where: Iterable[str] = ()) -> list[Record]:
    """Return the rows of a CSV that fulfil all conditions ``column=value`` or ``column!=value``; ``a|b`` is either."""
    with path.open(newline="") as file:
        records = list(csv.DictReader(file))
    for condition in where:
        name, unequal, values = re.fullmatch(r"\s*(\w+)(!?)=(.*)", condition).groups()  # type: ignore[union-attr]
        wanted = [value.strip() for value in values.split("|")]
        records = [record for record in records if (record[name] in wanted) != bool(unequal)]
    if not records:
        raise ValueError(f"no row of {path.name} fulfils {'; '.join(where)}")
    return records


def table(
    records: Sequence[Record],
    rows: Sequence[str],
    values: Sequence[Value],
    columns: str | None = None,
    labels: dict[str, str] | None = None,
) -> list[list[str]]:
    """Return the cells, the heading first.

    :param records: Rows of a CSV.
    :param rows: Columns of the CSV that identify a row of the table.
    :param values: Columns of numbers.
    :param columns: A column of the CSV whose values become columns of the table.
    :param labels: What to write in the place of values and names of ``rows`` and ``columns``.
    """
    label = {**{name: name.replace("_", " ") for name in rows}, **(labels or {})}
    across = list(dict.fromkeys(record[columns] for record in records)) if columns else [None]

    def heading(value: Value, spread: str | None) -> str:
        if spread is None:
            return value.title
        return " ".join(filter(None, [label.get(spread, spread), value.title if len(values) > 1 else ""]))

    cells = [[label[name] for name in rows] + [heading(value, spread) for spread in across for value in values]]
    for key in dict.fromkeys(tuple(record[name] for name in rows) for record in records):
        group = [record for record in records if tuple(record[name] for name in rows) == key]
        line = [label.get(part, part) for part in key]
        for spread in across:
            members = [record for record in group if columns is None or record[columns] == spread]
            line += [value.cell(members) for value in values]
        cells.append(line)
    return cells


def source(records: Sequence[Record], name: str) -> str:
    """Return the line that says where the numbers come from."""
    packages = {"ardae_rl": "ardae-rl", "sb3": "Stable-Baselines3", "gymnasium": "Gymnasium", "torch": "PyTorch"}
    parts = []
    for column, package in packages.items():
        found = sorted({record[column] for record in records if record.get(column)})
        if found:
            parts.append(f"{package} {', '.join(found)}")
    return f"{name}: {'; '.join(parts)}" if parts else name


class Results(SphinxDirective):
    """The directive, which makes a table node."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Callable[[str], Any]]] = {
        name: directives.unchanged for name in ("rows", "values", "columns", "where", "labels")
    }

    def run(self) -> list[nodes.Node]:
        """Return the table and the line below it."""
        name = self.arguments[0]
        path = RESULTS / name
        self.env.note_dependency(str(path))
        try:
            records = read(path, _split(self.options.get("where", "")))
            values = [Value.parse(text) for text in _split(self.options["values"])]
            labels = dict(text.split("=", 1) for text in _split(self.options.get("labels", "")))
            cells = table(records, _split(self.options["rows"], ","), values, self.options.get("columns"), labels)
        except (KeyError, OSError, ValueError) as error:
            raise self.error(f"{name}: {error}") from error
        wrapper = nodes.container(classes=["results-table"])
        wrapper += _table_node(cells, len(_split(self.options["rows"], ",")))
        return [wrapper, nodes.paragraph("", source(records, name), classes=["results-source"])]


def _split(text: str, separator: str = ";") -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


def _table_node(cells: list[list[str]], n_labels: int) -> nodes.table:
    group = nodes.tgroup(cols=len(cells[0]))
    group += [nodes.colspec(colwidth=1) for _ in cells[0]]
    head, body = nodes.thead(), nodes.tbody()
    for index, line in enumerate(cells):
        row = nodes.row()
        for text in line:
            row += nodes.entry("", nodes.paragraph("", text))
        (body if index else head).append(row)
    group += [head, body]
    return nodes.table("", group, classes=["docutils"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("results", Results)
    return {"parallel_read_safe": True}
