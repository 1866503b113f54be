"""Charts: SVG without scripts or styles, true to its numbers, with words for who can't see it."""

import re
from xml.etree import ElementTree

from django.utils.safestring import SafeString

from orderhooks.admin.charts import LEAST, Series, bars, progress

HEIGHT = 100


def heights(svg: str, name: str) -> list[float]:
    [path] = re.findall(rf'class="orderhooks-fill-{name}" d="([^"]*)"', svg) or [""]
    return [float(tall) for tall in re.findall(r"v([\d.]+)h-", path)]


def draw(*series: Series, **options) -> SafeString:
    return bars(series, **{"width": 240, "height": HEIGHT, "label": "Last day", **options})


def test_heights_are_in_proportion_and_fit() -> None:
    svg = draw(Series("success", [10, 20, 40]), Series("failure", [0, 20, 10]))
    [low, middle, high] = heights(svg, "success")
    assert (middle / low, high / low) == (2, 4)
    assert len(heights(svg, "failure")) == 2
    assert high + heights(svg, "failure")[1] <= HEIGHT


def test_one_failure_among_thousands_is_seen() -> None:
    svg = draw(Series("success", [1_000_000]), Series("failure", [1]))
    assert heights(svg, "failure") == [LEAST]
    assert heights(svg, "success")[0] + LEAST <= HEIGHT


def test_nothing_at_all_is_drawn_as_nothing() -> None:
    svg = draw(Series("success", [0, 0]), Series("failure", [0, 0]))
    assert "orderhooks-fill" not in svg
    assert "Last day" in svg


def test_it_is_well_formed_and_escapes_its_words() -> None:
    svg = draw(Series("success", [1]), label='<script>"x"</script>', tips=["<b>10:00</b>"])
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == '<script>"x"</script>'
    assert [title.text for title in root.iter("title")] == ['<script>"x"</script>', "<b>10:00</b>"]
    assert "style=" not in svg
    assert "<script" not in svg


def test_progress_is_as_wide_as_its_share() -> None:
    assert 'width="75.0"' in progress(0.25, width=300, height=10, label="a quarter")
