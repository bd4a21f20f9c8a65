import pytest

from learnscope.demo.recipe import check_names
from learnscope.errors import InputError


def test_names_that_exist_pass():
    check_names("fashion_mnist", "resnet")


@pytest.mark.parametrize(
    ("data", "network", "message"),
    [
        ("digts", "cnn", "there is no data set 'digts': choose among 'digits'"),
        ("mnist", "cn", "there is no network 'cn'"),
    ],
)
def test_other_names_are_refused_with_the_nearest(data, network, message):
    with pytest.raises(InputError, match=message):
        check_names(data, network)
