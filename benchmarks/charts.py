"""Line charts with logarithmic axes as small SVG files, light enough to read in a diff."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Line", "chart"]

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 40, 50
# Also without colours: each line has its name at its end.
COLOURS = ("#1f5fa8", "#b4451f", "#2f7d4f", "#7a4fa3", "#806000", "#5a5a5a")


@dataclass(frozen=True, slots=True)
class Line:
    """A line's name and its points, (x, y), all above zero. Dashed: a limit that was calculated."""

    name: str
    points: Sequence[tuple[float, float]]
    is_dashed: bool = False


def chart(title: str, x_name: str, y_name: str, lines: Sequence[Line]) -> str:
    """The chart as SVG."""
    xs = [x for line in lines for x, _y in line.points]
    ys = [y for line in lines for _x, y in line.points]
    across = _Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    # Whole decades up the page.
    up = _Axis(10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys))), HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" role="img" aria-label="{escape(title)}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 22, title, size=15),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_name, anchor="middle"),
        f'<g transform="rotate(-90 18 {HEIGHT / 2:.0f})">{_text(18, HEIGHT / 2, y_name, anchor="middle")}</g>',
        *(_tick_of_y(value, up.place(value)) for value in up.ticks()),
        *(_tick_of_x(value, across.place(value)) for value in across.ticks()),
    ]
    ends: list[float] = []
    for number, line in enumerate(lines):
        parts += _drawn(line, COLOURS[number % len(COLOURS)], across, up, ends)
    return "\n".join([*parts, "</svg>"]) + "\n"


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        return self.start + (self.end - self.start) * math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[float]:
        """1, 10, 100, …; with 2 and 5 between them where the axis is short."""
        steps = (1, 2, 5) if self.high / self.low < 2000 else (1,)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = [step * 10.0**decade for decade in decades for step in steps]
        return [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]


def _drawn(line: Line, colour: str, across: _Axis, up: _Axis, ends: list[float]) -> list[str]:
    """A line and its name; names that would cover each other move apart."""
    places = [(across.place(x), up.place(y)) for x, y in line.points]
    points = " ".join(f"{x:.0f},{y:.0f}" for x, y in places)
    dashes = ' stroke-dasharray="6 4"' if line.is_dashed else ""
    end = places[-1][1] + 4
    while any(abs(end - other) < 14 for other in ends):
        end += 7
    ends.append(end)
    return [
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>',
        _text(places[-1][0] + 6, end, line.name, colour=colour),
    ]


def _tick_of_y(value: float, y: float) -> str:
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.0f}" y2="{y:.0f}" stroke="#dddddd"/>'
    return line + _text(LEFT - 6, y + 4, _short(value), anchor="end")


def _tick_of_x(value: float, x: float) -> str:
    line = f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#eeeeee"/>'
    return line + _text(x, HEIGHT - BOTTOM + 16, _short(value), anchor="middle")


def _short(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, colour: str = "#222222") -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{escape(text)}</text>'
    )
