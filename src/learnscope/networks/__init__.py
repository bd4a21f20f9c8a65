"""What learns: networks in the forms of the literature."""

from learnscope.networks.catalogue import build
from learnscope.networks.convolutional import Convolutional
from learnscope.networks.fully_connected import FullyConnected
from learnscope.networks.residual import Residual

__all__ = ["Convolutional", "FullyConnected", "Residual", "build"]
