"""Figures of spikes, potentials and predictions, by matplotlib (the extra `plot`), which is imported as one is drawn.

Each function draws into the axes that it is given, or into a new figure, and returns the axes. None changes
matplotlib's settings, and none needs a display. What cannot be drawn is refused with a UserError (a ValueError).
`embed_altair` is another matter: it is for interactive charts of your own.
"""

from ttfs_cupy.plot.confusion import confusion_matrix
from ttfs_cupy.plot.embedding import embed_altair
from ttfs_cupy.plot.histogram import spike_time_histogram
from ttfs_cupy.plot.potential import potential_trace
from ttfs_cupy.plot.raster import raster

__all__ = ["confusion_matrix", "embed_altair", "potential_trace", "raster", "spike_time_histogram"]
