"""Showing a conversation: as a picture, and in a terminal.

::

    with TimelineCollector(engine) as collector, TerminalView(engine):
        engine.start_listening()
        await engine.finished()
    timeline(collector).savefig("conversation.png")

Importing this package loads neither matplotlib nor rich: a name loads its module when it is first used, and the
modules load them when something is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxrx.lazy import lazily

if TYPE_CHECKING:
    from voxrx.display.collector import TimelineCollector
    from voxrx.display.terminal import TerminalView
    from voxrx.display.timeline_data import TimelineData
    from voxrx.display.timeline_figure import STATUS_COLOURS, timeline

__all__ = ("STATUS_COLOURS", "TerminalView", "TimelineCollector", "TimelineData", "timeline")

# No module may bear the name of a function: importing it would put the module in the function's place.
_MODULES = {
    "STATUS_COLOURS": "timeline_figure",
    "TerminalView": "terminal",
    "TimelineCollector": "collector",
    "TimelineData": "timeline_data",
    "timeline": "timeline_figure",
}


__getattr__, __dir__ = lazily(__name__, _MODULES)
