"""Figures as pictures, for the report and the README."""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Final, Generic, NamedTuple, TypeVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.fan_out import LIMIT_MS, FanOut
from bench.latency import FixedLoad
from bench.memory import Memory
from bench.reporting.names import of_connection, of_server
from bench.reporting.steps import is_overloaded

F = TypeVar("F")

_OURS: Final = "#1f5fbf"
_PEERS: Final = "#b4b9c1"
_TEXT: Final = "#30343b"
_GRID: Final = "#e3e5e8"
_LINES: Final = {"nchan": "#d9730d", "better-sse": "#3f8f4f", "send-loop": "#7a7f87"}

_WIDTH: Final = 8.0
_BAR_HEIGHT: Final = 0.4
_DPI: Final = 120


class Bar(NamedTuple):
    """One bar: its name, length and label, and whether it is ours."""

    name: str
    value: float
    label: str
    is_ours: bool


class Plot(NamedTuple, Generic[F]):
    """The picture of a scenario.

    Attributes:
        file: Its name.
        description: Instead of the picture, for those who do not see it.
        draw: Draws the figures.
    """

    file: str
    description: str
    draw: Callable[[Sequence[F]], Figure]

    def png(self, figures: Sequence[F]) -> bytes:
        """Return the picture; equal figures give equal bytes."""
        picture = BytesIO()
        self.draw(figures).savefig(
            picture, format="png", dpi=_DPI, metadata={"Software": None}, facecolor="white"
        )
        return picture.getvalue()


def deliveries(found: Sequence[FanOut]) -> Figure:
    """Draw the highest rates that are carried, on a scale of powers of ten."""
    bars = [
        Bar(
            of_server(one.server),
            one.deliveries_per_second,
            f"{one.deliveries_per_second:,.0f}",
            one.server == "sseserver",
        )
        for one in sorted(found, key=lambda one: -one.deliveries_per_second)
    ]
    clients = found[0].clients
    figure, axes = _bars(bars, f"Deliveries a second to {clients:,} clients, p99 below 100 ms")
    axes.set_xscale("log")
    axes.set_xlim(1_000, max(bar.value for bar in bars) * 6)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return figure


def processor_time(found: Sequence[FixedLoad]) -> Figure:
    """Draw the processor time of each server under the same load."""
    bars = [
        Bar(
            of_server(one.server),
            one.server_share,
            f"{one.server_share:.0%}{', overloaded' if is_overloaded(one) else ''}",
            one.server == "sseserver",
        )
        for one in sorted(found, key=lambda one: one.server_share)
    ]
    load = f"{found[0].rate:.0f} events/s to {found[0].clients:,} clients"
    figure, axes = _bars(bars, f"Processor time at {load}, share of a core")
    axes.set_xlim(0, 1.3)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    return figure


def memory(found: Sequence[Memory]) -> Figure:
    """Draw what an idle connection costs."""
    bars = [
        Bar(
            of_connection(one.kind) if one.server == "sseserver" else of_server(one.server),
            one.kib_each,
            f"{one.kib_each:.1f}",
            one.server == "sseserver",
        )
        for one in found
    ]
    figure, axes = _bars(
        bars, f"KiB for each of {found[0].connections:,} idle connections (blue: sseserver)"
    )
    axes.set_xlim(0, max(bar.value for bar in bars) * 1.15)
    return figure


def latency_over_load(found: Sequence[FixedLoad]) -> Figure:
    """Draw median and 99th percentile of each server, up to the load that is too much."""
    figure, axes = _axes(4.5, "Latency over load (solid: p99, dashed: median)")
    for server in dict.fromkeys(one.server for one in found):
        color = _LINES.get(server, _OURS)
        points = [one for one in found if one.server == server]
        loads = [one.rate * one.clients for one in points]
        axes.plot(
            loads, [one.p99_ms for one in points], color=color, marker="o", markersize=3.5,
            linewidth=2, label=of_server(server),
        )  # fmt: skip
        axes.plot(loads, [one.p50_ms for one in points], color=color, linestyle="--", linewidth=1.3)
    axes.axhline(LIMIT_MS, color=_TEXT, linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(0.1, 1_000)
    axes.grid(axis="both", color=_GRID)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("deliveries a second that are due", color=_TEXT)
    axes.set_ylabel("ms from when an event was due", color=_TEXT)
    axes.legend(frameon=False, labelcolor=_TEXT, loc="lower right")
    return figure


def _bars(bars: Sequence[Bar], title: str) -> tuple[Figure, Axes]:
    figure, axes = _axes(1.0 + _BAR_HEIGHT * len(bars), title)
    places = range(len(bars))
    axes.barh(
        places,
        [bar.value for bar in bars],
        color=[_OURS if bar.is_ours else _PEERS for bar in bars],
        height=0.7,
    )
    for place, bar in zip(places, bars, strict=True):
        axes.annotate(
            bar.label, (bar.value, place), xytext=(5, 0), textcoords="offset points",
            va="center", color=_TEXT, fontweight="bold" if bar.is_ours else "normal",
        )  # fmt: skip
    axes.set_yticks(places, [bar.name for bar in bars])
    axes.invert_yaxis()
    axes.grid(axis="x", color=_GRID)
    return figure, axes


def _axes(height: float, title: str) -> tuple[Figure, Axes]:
    figure = Figure((_WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", color=_TEXT, fontsize=11, fontweight="bold")
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=_TEXT, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)
    return figure, axes
