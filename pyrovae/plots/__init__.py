"""Arrays -> matplotlib figures, all in one style; imports nothing of ours."""

from pyrovae.plots._style import png, save
from pyrovae.plots.comparison import Compared, comparison
from pyrovae.plots.curves import training_curves
from pyrovae.plots.distributions import Histogrammed, histograms
from pyrovae.plots.learning import save_film
from pyrovae.plots.maps import code_map
from pyrovae.plots.pictures import grid, panels
from pyrovae.plots.predictive import Predicted, Restored, denoised, predictive
from pyrovae.plots.rates import Traded, rate_distortion
from pyrovae.plots.scores import Detection, Surprising, detection, scores
from pyrovae.plots.walks import Planar, Traversed, interpolation, interpolation_film, plane, traversal

__all__ = [
    "Compared",
    "Detection",
    "Histogrammed",
    "Planar",
    "Predicted",
    "Restored",
    "Surprising",
    "Traded",
    "Traversed",
    "code_map",
    "comparison",
    "denoised",
    "detection",
    "grid",
    "histograms",
    "interpolation",
    "interpolation_film",
    "panels",
    "plane",
    "png",
    "predictive",
    "rate_distortion",
    "save",
    "save_film",
    "scores",
    "training_curves",
    "traversal",
]
