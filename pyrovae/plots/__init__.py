"""Arrays -> matplotlib figures, all in one style; imports nothing of ours."""

from pyrovae.plots._style import save
from pyrovae.plots.comparison import Compared, comparison
from pyrovae.plots.distributions import Histogrammed, histograms
from pyrovae.plots.pictures import grid, panels
from pyrovae.plots.rates import Traded, rate_distortion

__all__ = [
    "Compared",
    "Histogrammed",
    "Traded",
    "comparison",
    "grid",
    "histograms",
    "panels",
    "rate_distortion",
    "save",
]
