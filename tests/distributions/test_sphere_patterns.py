"""Labels of patterns on the sphere hang on nothing but the pattern up to rotations."""

import torch

from learnscope.distributions.sphere_patterns import icosahedron, sphere_patterns


def rotations():
    """Return the permutations of the vertices by a fifth of a turn around each of them."""
    vertices = icosahedron()
    angle = torch.tensor(2 * torch.pi / 5, dtype=torch.float64)
    for axis in vertices:
        cross = torch.linalg.cross(axis.expand(3, 3), torch.eye(3, dtype=torch.float64)).T
        turn = torch.eye(3) + angle.sin() * cross + (1 - angle.cos()) * cross @ cross
        cosines = (vertices @ turn.T) @ vertices.T
        assert torch.allclose(cosines.amax(1), torch.ones(12, dtype=torch.float64))
        yield cosines.argmax(1)


def test_all_patterns_are_there_once():
    x, _ = sphere_patterns()
    assert len(x.unique(dim=0)) == 2**12
    assert set(x.unique().tolist()) == {-1.0, 1.0}


def test_labels_do_not_change_when_patterns_are_rotated():
    x, y = sphere_patterns()
    label_of = dict(zip(map(tuple, x.tolist()), y.tolist(), strict=True))
    for places in rotations():
        assert [label_of[tuple(row)] for row in x[:, places].tolist()] == y.tolist()


def test_labels_are_balanced_and_no_linear_function():
    x, y = sphere_patterns()
    assert abs(float(y.double().mean()) - 0.5) < 0.03
    design = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
    fitted = design @ torch.linalg.lstsq(design, 2.0 * y.double() - 1).solution
    assert 0.8 < float(((fitted > 0) == (y > 0)).double().mean()) < 0.95
