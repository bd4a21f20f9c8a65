"""Every kind of network that the tangent kernel has to be right for, as (model, inputs)."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F


class CalledTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared, self.head = nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.shared(torch.tanh(self.shared(x)))))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False)
        self.decoder.weight = self.encoder.weight

    def forward(self, x):
        return self.decoder(torch.tanh(self.encoder(x)))


class UsedElsewhere(nn.Module):
    """A module that is called once, and whose weight is used again without it."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(5, 4)

    def forward(self, x):
        return F.linear(torch.tanh(self.encoder(x)), self.encoder.weight.T)


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.linear = nn.Parameter(torch.rand(5) + 0.5), nn.Linear(5, 2)

    def forward(self, x):
        return self.linear(self.scale * x).sinh()


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x):
        z = self.inner(x)
        z += x  # in place: what `inner` returned is overwritten
        return self.head(torch.tanh(z))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.recurrent(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.mix, self.head = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.mix(self.embedding(x))).mean(1))


class TiedTokens(nn.Module):
    """An embedding whose weights the head shares, and another that is its own."""

    def __init__(self):
        super().__init__()
        self.embedding, self.other = nn.Embedding(7, 4), nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(torch.tanh(self.embedding(x) + self.other(x)).mean(1))


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(5, 6), nn.Linear(6, 2)

    def forward(self, x):
        from torch.utils.checkpoint import checkpoint

        return self.head(checkpoint(lambda z: torch.tanh(self.inner(z)), x, use_reentrant=False))


class PositionsFirst(nn.Module):
    """A layer that sees positions in the first dimension."""

    def __init__(self):
        super().__init__()
        self.mix, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.mix(x.transpose(0, 1))).mean(0))


def flat(*layers):
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(3))


def trained_norm(model):
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
        if getattr(module, "weight", None) is not None and "Norm" in type(module).__name__:
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


class Idle(nn.Module):
    """A bare parameter beside a module that is never called."""

    def __init__(self):
        super().__init__()
        self.scale, self.idle = nn.Parameter(torch.rand(5)), nn.Linear(5, 5)

    def forward(self, x):
        return (self.scale * x).tanh()


def registered_twice():
    shared = nn.Linear(5, 5)
    return nn.Sequential(shared, nn.Tanh(), shared)


class OnlyShared(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(5, 5)

    def forward(self, x):
        return self.shared(torch.tanh(self.shared(x)))


class Experts(nn.Module):
    """Layers that are called for some examples only; for how many, and whether at all, the inputs decide."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(5, 3), nn.ModuleList([nn.Linear(5, 2) for _ in range(3)])

    def forward(self, x):
        scores = self.gate(x)
        chosen, out = scores.argmax(1), x.new_zeros(len(x), 2)
        for k, expert in enumerate(self.experts):
            own = chosen == k
            if own.any():
                out[own] = expert(x[own]) * scores[own, k : k + 1].sigmoid()
        return out


class Sorted(nn.Module):
    """A layer that sees the examples in another order, as sequences sorted by length are."""

    def __init__(self, *, descending):
        super().__init__()
        self.inner, self.head, self.descending = nn.Linear(5, 4), nn.Linear(4, 2), descending

    def forward(self, x):
        order = x.sum(1).argsort(descending=self.descending)
        return self.head(torch.tanh(self.inner(x[order])))[order.argsort()]


CASES = {
    "mlp": (lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)), (5,)),
    "no bias": (lambda: nn.Sequential(nn.Linear(5, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)), (5,)),
    "in-place relu": (lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)), (5,)),
    "convolution": (lambda: flat(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(3, 2, 2)), (2, 4, 5)),
    "stride": (lambda: flat(nn.Conv2d(2, 3, 3, stride=(2, 1), padding=(1, 0))), (2, 6, 5)),
    "dilation": (lambda: flat(nn.Conv2d(2, 3, 2, dilation=2)), (2, 5, 5)),
    "groups": (lambda: flat(nn.Conv2d(4, 6, 3, groups=2)), (4, 5, 4)),
    "depthwise": (lambda: flat(nn.Conv2d(3, 3, 3, groups=3, padding="same")), (3, 4, 4)),
    "circular padding": (lambda: flat(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")), (2, 4, 4)),
    "reflected padding": (lambda: flat(nn.Conv1d(2, 3, 3, padding=1, padding_mode="reflect")), (2, 6)),
    "three dimensions": (lambda: flat(nn.Conv3d(1, 2, 2, stride=2)), (1, 4, 4, 4)),
    "transposed": (lambda: flat(nn.ConvTranspose2d(2, 3, 3, stride=2)), (2, 3, 3)),
    "layer norm": (lambda: trained_norm(nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(6, 2))), (5,)),
    "layer norm of images": (lambda: trained_norm(flat(nn.LayerNorm([2, 3, 3]), nn.Tanh())), (2, 3, 3)),
    "group norm": (lambda: trained_norm(flat(nn.Conv2d(2, 4, 2), nn.GroupNorm(2, 4), nn.ReLU())), (2, 4, 4)),
    "batch norm": (lambda: trained_norm(flat(nn.Conv2d(2, 4, 2), nn.BatchNorm2d(4), nn.ReLU())), (2, 4, 4)),
    "batch norm of vectors": (lambda: trained_norm(nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 2))), (5,)),
    "attention": (lambda: Attention().eval(), (3, 4)),
    "transformer": (
        lambda: flat(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation="gelu")).eval(),
        (3, 4),
    ),
    "residual in place": (Residual, (5,)),
    "called twice": (CalledTwice, (5,)),
    "registered twice": (registered_twice, (5,)),
    "only a shared module": (OnlyShared, (5,)),
    "idle module": (Idle, (5,)),
    "tied": (Tied, (5,)),
    "used elsewhere": (UsedElsewhere, (5,)),
    "bare parameter": (Bare, (5,)),
    "recurrent": (Recurrent, (4, 3)),
    "checkpointed": (Checkpointed, (5,)),
    "positions first": (PositionsFirst, (3, 4)),
    "tokens": (Tokens, (6,)),
    "tied tokens": (TiedTokens, (6,)),
    "one token": (lambda: nn.Sequential(nn.Embedding(7, 4), nn.Tanh(), nn.Flatten(), nn.Linear(4, 2)), (1,)),
    "written inputs": (lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 3)), (5,)),
    "prelu": (lambda: nn.Sequential(nn.Linear(5, 5), nn.PReLU(5)), (5,)),  # as many outputs as examples
    "experts": (Experts, (5,)),
    "sorted": (lambda: Sorted(descending=False), (5,)),  # for one of the two, the first two examples are in order
    "sorted downwards": (lambda: Sorted(descending=True), (5,)),
    "sequence of vectors": (lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(15, 2)), (3, 4)),
}


@pytest.fixture(params=CASES)
def case(request):
    make, shape = CASES[request.param]
    torch.manual_seed(1)
    model = make()
    x = torch.randint(0, 7, (5, *shape)) if "token" in request.param else torch.randn(5, *shape, dtype=torch.float64)
    model = model.double()
    with torch.no_grad():
        model(x.clone())  # lazy modules take their shape
    return model, x
