"""The plot: an SVG written by hand, in colours that read on a light and on a dark page."""

from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

from bench.report import Chart

WIDTH: Final = 760
LEFT: Final = 220
RIGHT: Final = 650
ROW: Final = 26
LINE_HEIGHT: Final = 200
COLOURS: Final = ("#2f81f7", "#8b949e", "#d2872c", "#3fa45b", "#b56ad8", "#d5506a")
STYLE: Final = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 14px }
  .axis { stroke: #8b949e; stroke-width: 1; opacity: .45 }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
"""


def draw(charts: Sequence[Chart]) -> str:
    """Return an SVG document with the charts below each other."""
    parts: list[str] = []
    top = 10
    for chart in charts:
        parts.append(f'<text class="title" x="12" y="{top + 16}">{escape(chart.title)}</text>')
        drawn, height = _bars(chart, top + 30) if len(chart.places) == 1 else _lines(chart, top + 30)
        parts += drawn
        top += height + 54
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" role="img">\n'
        f"<title>Rates measured</title>\n<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def _bars(chart: Chart, top: int) -> tuple[list[str], int]:
    most = max(rates[0] for rates in chart.rates.values()) or 1.0
    parts: list[str] = []
    for place, (name, rates) in enumerate(chart.rates.items()):
        y = top + place * ROW
        width = (RIGHT - LEFT) * rates[0] / most
        colour = COLOURS[0] if name.startswith("Outbound") else COLOURS[1]
        parts += [
            f'<text x="{LEFT - 10}" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y + 3}" width="{width:.1f}" height="{ROW - 8}" rx="3" fill="{colour}"/>',
            f'<text x="{LEFT + width + 8:.1f}" y="{y + 15}">{rates[0]:,.0f}</text>',
        ]
    return parts, ROW * len(chart.rates)


def _lines(chart: Chart, top: int) -> tuple[list[str], int]:
    most = max(max(rates) for rates in chart.rates.values()) or 1.0
    bottom = top + LINE_HEIGHT
    across = [LEFT - 120 + (RIGHT - LEFT + 60) * place / (len(chart.places) - 1) for place in range(len(chart.places))]
    parts = [
        f'<line class="axis" x1="{across[0] - 20}" x2="{across[-1] + 20}" y1="{bottom}" y2="{bottom}"/>',
        *(
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{escape(place)}</text>'
            for x, place in zip(across, chart.places, strict=True)
        ),
    ]
    for number, (name, rates) in enumerate(chart.rates.items()):
        points = [(x, bottom - (LINE_HEIGHT - 20) * rate / most) for x, rate in zip(across, rates, strict=True)]
        parts += _line(name, points, rates, COLOURS[number % len(COLOURS)])
    return parts, LINE_HEIGHT + 20


def _line(name: str, points: Sequence[tuple[float, float]], rates: Sequence[float], colour: str) -> Iterator[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
    for (x, y), rate in zip(points, rates, strict=True):
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
        yield f'<text x="{x:.1f}" y="{y - 9:.1f}" text-anchor="middle">{rate:,.0f}</text>'
    x, y = points[-1]
    yield f'<text x="{x + 34:.1f}" y="{y + 4:.1f}" style="fill:{colour}">{escape(name)}</text>'
