"""The drawing room: pictures, each as a PNG and an SVG side by side, in colours that stay the same from one to the next.

May know: spans, and numbers that others have measured.
Must never know: where they come from. matplotlib is imported only when a picture is drawn, and without a display.
"""

from decoupled.plots.charts import Moment, Point, bars, curves, learning
from decoupled.plots.paper import Files
from decoupled.plots.timeline import timeline

__all__ = ["Files", "Moment", "Point", "bars", "curves", "learning", "timeline"]
