import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from learnscope.errors import InputError
from learnscope.laboratory import Grid, Settings, grid
from learnscope.laboratory.points import settings_key


class Sizes(Settings):
    dim: int = Field(10, ge=1)
    n_train: Grid[int] = (20, 40)
    laws: tuple[str, ...] = ("normal", "student")
    rate: float = 0.1


def test_a_single_value_of_a_grid_is_a_grid_of_one():
    assert Sizes(n_train=5).n_train == (5,)


def test_only_grid_fields_are_swept():
    assert Sizes.swept() == ("n_train",)
    assert [point.laws for point in grid(Sizes())] == [("normal", "student")] * 2


def test_an_empty_grid_is_refused():
    with pytest.raises(InputError, match="n_train"):
        Sizes.checked({"n_train": []}, "demo")


def test_an_unknown_setting_gives_the_nearest_names():
    with pytest.raises(InputError, match="'demo' has no setting 'n_trian': did you mean 'n_train'"):
        Sizes.checked({"n_trian": 3}, "demo")


def test_a_value_out_of_range_is_named_with_what_was_expected():
    with pytest.raises(InputError, match="setting 'dim' of 'demo' cannot be 0: input should be greater than or equal"):
        Sizes.checked({"dim": 0}, "demo")


def test_settings_that_do_not_go_together_are_told_apart_from_one_that_is_wrong():
    class Ordered(Settings):
        least: int = 1
        most: int = 2

        @model_validator(mode="after")
        def _ascending(self):
            if self.least > self.most:
                raise ValueError("least must not exceed most")
            return self

    with pytest.raises(
        InputError, match=r"^the settings of 'demo' cannot be {'least': 3}: least must not exceed most\.$"
    ):
        Ordered.checked({"least": 3}, "demo")


def test_a_value_of_the_wrong_kind_is_named():
    with pytest.raises(InputError, match=r"setting 'n_train.1' of 'demo' cannot be 'many'"):
        Sizes.checked({"n_train": [3, "many"]}, "demo")


def test_texts_of_the_command_line_become_values():
    parsed = Sizes.parsed(["dim=7", "n_train=1,2", "laws=normal", "rate=1e-3"], "demo")
    assert Sizes.checked(parsed, "demo") == Sizes(dim=7, n_train=(1, 2), laws=("normal",), rate=1e-3)


def test_lists_may_be_written_as_json():
    assert Sizes.parsed(["n_train=[1, 2]"], "demo") == {"n_train": [1, 2]}


def test_a_text_without_an_equals_sign_is_refused():
    with pytest.raises(InputError, match="NAME=VALUE"):
        Sizes.parsed(["dim"], "demo")


def test_defaults_are_left_out_of_the_name_so_that_a_new_setting_orphans_nothing():
    class Older(Settings):
        n_train: Grid[int] = (20, 40)

    class Newer(Settings):
        n_train: Grid[int] = (20, 40)
        depth: int = 2

    assert settings_key(Older()) == settings_key(Newer())
    assert settings_key(Older(n_train=3)) == settings_key(Newer(n_train=3))
    assert settings_key(Newer(depth=3)) != settings_key(Newer())


def test_a_new_version_of_an_experiment_has_a_folder_of_its_own():
    assert settings_key(Sizes(), version=2) != settings_key(Sizes())


@given(dim=st.integers(1, 1000), rate=st.floats(1e-6, 1e6))
def test_equal_settings_have_equal_names_and_different_ones_different_names(dim, rate):
    assert settings_key(Sizes(dim=dim, rate=rate)) == settings_key(Sizes(rate=rate, dim=dim))
    assert settings_key(Sizes(dim=dim)) != settings_key(Sizes(dim=dim + 1))
