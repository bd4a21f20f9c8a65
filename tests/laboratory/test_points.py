import pickle

import pytest
import torch

from learnscope.laboratory import Grid, Point, Settings, grid
from learnscope.laboratory.points import key, point_generator


class Sizes(Settings):
    dim: int = 3
    width: Grid[int] = (1, 2)
    depth: Grid[int] = (5, 6, 7)


class SizesLater(Sizes):
    rate: float = 0.1


def numbers(point, seed, experiment="demo", settings=Sizes):
    return torch.randn(4, generator=point_generator(experiment, point, settings, seed)).tolist()


def test_the_grid_is_the_product_of_the_swept_axes_with_the_last_running_fastest():
    assert [(p.width, p.depth) for p in grid(Sizes())] == [(1, 5), (1, 6), (1, 7), (2, 5), (2, 6), (2, 7)]


def test_settings_without_a_swept_axis_make_one_point():
    class Plain(Settings):
        dim: int = 3

    assert [dict(point) for point in grid(Plain())] == [{"dim": 3}]


def test_a_point_is_read_by_attribute_and_by_item_and_cannot_be_changed():
    point = grid(Sizes())[0]
    assert point.width == point["width"] == 1
    with pytest.raises(AttributeError, match="no setting 'height': it has dim, width, depth"):
        _ = point.height
    with pytest.raises(AttributeError):
        point.width = 3


def test_a_point_survives_the_way_to_a_worker():
    point = grid(Sizes())[3]
    again = pickle.loads(pickle.dumps(point))
    assert dict(again) == dict(point)
    assert isinstance(again, Point)


def test_points_seeds_and_experiments_have_independent_generators():
    first, second = grid(Sizes())[:2]
    drawn = [numbers(first, 0), numbers(first, 1), numbers(second, 0), numbers(first, 0, "other")]
    assert len({tuple(each) for each in drawn}) == 4


def test_the_same_point_has_the_same_numbers_and_name_in_every_sweep_that_holds_it():
    wide, narrow = grid(Sizes()), grid(Sizes(width=2, depth=6))
    assert numbers(wide[4], 0) == numbers(narrow[0], 0)
    assert key(wide[4], Sizes) == key(narrow[0], Sizes)


def test_a_setting_added_later_changes_neither_numbers_nor_names_at_its_default():
    now, later = grid(Sizes())[0], grid(SizesLater())[0]
    assert numbers(now, 0) == numbers(later, 0, settings=SizesLater)
    assert key(now, Sizes) == key(later, SizesLater)
    changed = grid(SizesLater(rate=0.2))[0]
    assert key(changed, SizesLater) != key(now, Sizes)
