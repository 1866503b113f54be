"""The charts of docs/scale.md are valid SVG, and their axes are logarithmic."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from benchmarks.charts import Line, chart

pytestmark = pytest.mark.once


def test_a_chart_names_its_lines_and_axes_and_is_logarithmic() -> None:
    lines = [Line("one <host>", [(1, 10), (10, 100), (100, 1000)]), Line("limit", [(1, 20), (100, 20)], is_dashed=True)]
    svg = chart("Rates & limits", "workers", "a second", lines)
    root = ElementTree.fromstring(svg)

    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Rates & limits", "workers", "a second", "one <host>", "limit", "1", "10", "100", "1k"} <= texts
    first, second = re.findall(r'points="([^"]+)"', svg)
    (x1, y1), (x2, y2), (x3, y3) = ([float(part) for part in point.split(",")] for point in first.split())
    assert x2 - x1 == pytest.approx(x3 - x2, abs=1)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=1)
    assert len({point.split(",")[1] for point in second.split()}) == 1


def test_names_at_the_same_place_do_not_cover_each_other() -> None:
    svg = chart("Title", "x", "y", [Line(f"line {number}", [(1, 10), (10, 50)]) for number in range(4)])
    places = [float(y) for y in re.findall(r'<text x="\d+" y="(\d+)"[^>]*>line', svg)]

    assert all(after - before >= 14 for before, after in pairwise(places))
