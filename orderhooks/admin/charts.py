"""Charts: SVG that the server draws, coloured by classes alone, so that no script and no inline style is needed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

__all__ = ["Series", "bars", "progress"]

# The least height of a count above 0: one failure among thousands has to be visible.
LEAST = 1.5


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a chart: the class `orderhooks-fill-<name>`, and a value for each bar."""

    name: str
    values: Sequence[int]


def bars(series: Sequence[Series], *, width: int, height: int, label: str, tips: Sequence[str] = ()) -> SafeString:
    """Bars from left to right, each a stack of the series from the bottom up. `label` says in words what it shows.

    `tips` are shown where the pointer is at a bar.
    """
    columns = list(zip(*(one.values for one in series), strict=True))
    step = width / max(1, len(columns))
    scale = (height - LEAST * len(series)) / max([1, *map(sum, columns)])
    paths: dict[str, list[str]] = {one.name: [] for one in series}
    for number, column in enumerate(columns):
        bottom = float(height)
        for one, value in zip(series, column, strict=True):
            if value:
                tall = max(LEAST, value * scale)
                bottom -= tall
                paths[one.name].append(
                    f"M{number * step:.1f} {bottom:.1f}h{step * 0.8:.1f}v{tall:.1f}h-{step * 0.8:.1f}z"
                )
    drawn = format_html_join(
        "", '<path class="orderhooks-fill-{}" d="{}"/>', ((name, "".join(path)) for name, path in paths.items() if path)
    )
    return _svg(width, height, label, drawn + _tips(tips, step, height))


def progress(share: float, *, width: int, height: int, label: str) -> SafeString:
    """A bar that is full at a share of 1."""
    full = format_html(
        '<rect class="orderhooks-fill-success" width="{}" height="{}"/>', round(share * width, 1), height
    )
    empty = format_html('<rect class="orderhooks-fill-empty" width="{}" height="{}"/>', width, height)
    return _svg(width, height, label, empty + full)


def _tips(tips: Sequence[str], step: float, height: int) -> SafeString:
    def places() -> Iterator[tuple[str, str, int, str]]:
        for number, tip in enumerate(tips):
            yield f"{number * step:.1f}", f"{step:.1f}", height, tip

    return format_html_join(
        "", '<rect x="{}" width="{}" height="{}" fill="transparent"><title>{}</title></rect>', places()
    )


def _svg(width: int, height: int, label: str, drawn: SafeString) -> SafeString:
    return format_html(
        '<svg class="orderhooks-chart" viewBox="0 0 {0} {1}" width="{0}" height="{1}" preserveAspectRatio="none"'
        ' role="img" aria-label="{2}"><title>{2}</title>'
        '<path class="orderhooks-axis" d="M0 {1}h{0}"/>{3}</svg>',
        width,
        height,
        label,
        drawn,
    )
