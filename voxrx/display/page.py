"""The page that a timeline is drawn on: panels below each other over one time axis, measured in pixels."""

# pyright: reportUnknownMemberType=false
# matplotlib leaves the keyword arguments of its methods untyped; what the methods return is typed.

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from voxrx.display.timeline_data import TimelineData
from voxrx.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ("FAINT_INK", "GRID", "INK", "PAPER", "TEXT_SIZE", "Page", "ticks", "wrapped")

INK = "#1f2933"
FAINT_INK = "#66707c"
PAPER = "#ffffff"
PANEL = "#f7f8fa"
GRID = "#e3e6ea"

LEFT_PX, RIGHT_PX = 104, 24
TEXT_SIZE = 9.0
DPI = 100

# So that people can be read in other scripts, where one of these is installed; what none of them has is drawn as a box.
_FALLBACK_FONTS = (
    "DejaVu Sans",
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Emoji",
    "Segoe UI",
    "Segoe UI Symbol",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Hiragino Sans",
    "PingFang SC",
    "Arial Unicode MS",
)


class Page:
    """A figure with a time axis from left to right, and panels from top to bottom, all in pixels."""

    def __init__(self, data: TimelineData, width: int, height: int) -> None:
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtraError.of("matplotlib", extra="notebook", purpose="drawing a timeline") from error

        self.data = data
        self.width, self.height = width, height
        self.inner_width = width - LEFT_PX - RIGHT_PX

        class ShownFigure(Figure):
            """A figure that notebooks show without pyplot."""

            def _repr_png_(self) -> bytes:
                written = io.BytesIO()
                self.savefig(written, format="png")
                return written.getvalue()

        self.figure: Figure = ShownFigure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
        self.renderer: Any = FigureCanvasAgg(self.figure).get_renderer()
        self.fonts = Fonts()
        margin = max(data.duration_s, 0.1) * 0.008
        self.start, self.end = -margin, max(data.duration_s, 0.1) + margin
        self.panels: list[Axes] = []
        self._widths: dict[tuple[str, float, str], float] = {}

    def panel(self, top: float, height: float, name: str, title: str) -> Axes:
        """Return a new panel ``top`` pixels below the page's upper edge; its y axis is in pixels, upwards."""
        axes = self.figure.add_axes(
            (
                LEFT_PX / self.width,
                1 - (top + height) / self.height,
                self.inner_width / self.width,
                height / self.height,
            ),
            gid=name,
            label=name,
        )
        axes.set_facecolor(PANEL)
        axes.set_xlim(self.start, self.end)
        axes.set_ylim(0, height)
        axes.set_yticks([])
        axes.set_xticks(ticks(self.data.duration_s), labels=[])
        axes.tick_params(length=0)
        axes.grid(axis="x", color=GRID, linewidth=0.8, linestyle="-")
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_visible(False)
        if title:
            self.write(axes, title, -10, height / 2, ha="right", colour=INK, size=TEXT_SIZE, of_time=False)
        self.panels.append(axes)
        return axes

    def pixel(self, seconds: float) -> float:
        """Return how many pixels right of the panels' left edge a time is."""
        return (seconds - self.start) / (self.end - self.start) * self.inner_width

    def seconds(self, pixel: float) -> float:
        """Return the time at a pixel."""
        return self.start + pixel / self.inner_width * (self.end - self.start)

    def write(
        self,
        axes: Axes,
        text: str,
        x: float,
        y: float,
        *,
        colour: str = INK,
        size: float = TEXT_SIZE,
        ha: str = "left",
        va: str = "center",
        weight: str = "normal",
        gid: str | None = None,
        of_time: bool = True,
    ) -> None:
        """Write into a panel; ``x`` and ``y`` are pixels. Nothing in ``text`` is interpreted."""
        axes.text(
            x / self.inner_width,
            y,
            self.fonts.drawable(text),
            transform=axes.get_yaxis_transform(),
            ha=ha,
            va=va,
            color=colour,
            fontsize=size,
            fontweight=weight,
            fontfamily=self.fonts.families,
            fontstyle="normal",
            usetex=False,
            parse_math=False,
            gid=gid,
            clip_on=of_time,
        )

    def text_width(self, text: str, size: float = TEXT_SIZE, weight: str = "normal") -> float:
        """Return how wide a text is, in pixels."""
        from matplotlib.font_manager import FontProperties

        key = (text, size, weight)
        if key not in self._widths:
            font = FontProperties(family=self.fonts.families, size=size, weight=weight)
            drawable = self.fonts.drawable(text)
            self._widths[key] = float(self.renderer.get_text_width_height_descent(drawable, font, False)[0])
        return self._widths[key]


class Fonts:
    """The fonts that are there, and which characters they have."""

    def __init__(self) -> None:
        from matplotlib import font_manager

        there = set(font_manager.get_font_names())
        self.families = [name for name in _FALLBACK_FONTS if name in there]
        found: list[str] = [font_manager.findfont(name, fallback_to_default=False) for name in self.families]
        self._maps: list[Any] = [font_manager.get_font(path) for path in found]
        self._known: dict[str, str] = {}

    def drawable(self, text: str) -> str:
        """Return ``text`` with a box for what no font has."""
        return "".join(self._known.get(character) or self._looked_up(character) for character in text)

    def _looked_up(self, character: str) -> str:
        has = any(font.get_char_index(ord(character)) for font in self._maps)
        self._known[character] = character if has else "\N{WHITE VERTICAL RECTANGLE}"
        return self._known[character]


def wrapped(text: str, room: float, lines: int, width_of: Callable[[str], float]) -> list[str]:
    """Return ``text`` in at most ``lines`` lines no wider than ``room``; an ellipsis tells that there was more."""
    parts: list[str] = []
    rest = text
    while rest and len(parts) < lines:
        count = _fitting(rest, room, width_of)
        if count < len(rest) and (space := rest.rfind(" ", 0, count + 1)) > 0:
            count = space
        parts.append(rest[:count].strip())
        rest = rest[count:].strip()
    if rest and parts:
        last = parts[-1] + "…"
        while len(last) > 1 and width_of(last) > room:
            last = last[:-2].rstrip() + "…"
        parts[-1] = last
    return parts


def _fitting(text: str, room: float, width_of: Callable[[str], float]) -> int:
    """Return how many characters of ``text`` fit; at least one."""
    low, high = 1, min(len(text), 1 + int(room / 2))
    while low < high:
        middle = (low + high + 1) // 2
        if width_of(text[:middle]) <= room:
            low = middle
        else:
            high = middle - 1
    return low


_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


def ticks(duration_s: float) -> list[float]:
    """Return the times, in seconds, at which an axis of this length is marked."""
    step = next((step for step in _STEPS if duration_s / step <= 14), duration_s / 14)
    return [at * step for at in range(int(duration_s / step + 1e-9) + 1)]
