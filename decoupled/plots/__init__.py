"""Plots: pictures, each as a PNG and an SVG, in colours that stay the same from one to the next.

May import: spans, and matplotlib, which is loaded only when a picture is drawn, and without a display.
Must not know: where the numbers come from.
"""

from decoupled.plots.charts import Point, bars, curves, learning, number
from decoupled.plots.paper import Files
from decoupled.plots.timeline import timeline

__all__ = ["Files", "Point", "bars", "curves", "learning", "number", "timeline"]
