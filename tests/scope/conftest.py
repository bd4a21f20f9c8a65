"""Small networks of every kind that the scope must cope with, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn


class Twice(nn.Module):
    """A module called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.relu, self.head = nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.linear(self.relu(self.linear(x)))))


class Tied(nn.Module):
    """Two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.decode.weight = self.encode.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.decode(torch.tanh(self.encode(x)))))


class Bare(nn.Module):
    """A parameter that belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x * self.scale)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block, self.head = nn.Sequential(nn.Linear(6, 6), nn.ReLU()), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.block(x))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x)).mean(1))


class Recurrent(nn.Module):
    """Tokens with the examples along the second dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(2, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x.reshape(-1, 3, 2).transpose(0, 1))[0][-1])


def _convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 3, dilation=2, padding=2, groups=2, bias=False),
        nn.BatchNorm2d(4),
        nn.GELU(),
        nn.ConvTranspose2d(4, 3, 2, stride=2),
        nn.Dropout2d(0.3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, 3),
    )


CASES = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3, bias=False)), (6,)),
    "normalised": (lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.BatchNorm1d(8), nn.Linear(8, 3)), (6,)),
    "convolutions": (_convolutions, (2, 8, 8)),
    "twice": (Twice, (6,)),
    "tied": (Tied, (6,)),
    "bare": (Bare, (6,)),
    "residual": (Residual, (6,)),
    "transformer": (Transformer, None),
    "recurrent": (Recurrent, (6,)),
}
N = 24


@pytest.fixture(params=list(CASES))
def case(request):
    """(model, probe) in float64."""
    make, shape = CASES[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().double()
        x = torch.randint(0, 11, (N, 5)) if shape is None else torch.randn(N, *shape, dtype=torch.float64)
    return model, (x, torch.arange(N) % 3)


@pytest.fixture
def blobs():
    """Three separable classes in 6 dimensions: x [90, 6], y [90]."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(90) % 3
    return torch.randn(90, 6, generator=g) + 3 * torch.eye(6)[y], y


@pytest.fixture
def small_model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))


@pytest.fixture
def train():
    """Train a model by plain gradient descent for some steps, telling a scope after each."""

    def run(model, x, y, steps, scope=None, lr=0.1):
        optimiser = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        for _ in range(steps):
            loss = nn.functional.cross_entropy(model(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if scope is not None:
                scope.step(loss=loss)

    return run
