"""Training of one-hidden-layer networks between the regimes of features and of laziness, many at once."""

from learnscope.dynamics.shallow.ensembles import descend, flow
from learnscope.dynamics.shallow.proximal import proximal_flow
from learnscope.dynamics.shallow.run import Run, Stop

__all__ = ["Run", "Stop", "descend", "flow", "proximal_flow"]
