"""What tests of certified publication share."""

import pytest


@pytest.fixture
def long_profile(request):
    """Skip a test that takes long, but for ``--hypothesis-profile=long``."""
    if request.config.getoption("--hypothesis-profile") != "long":
        pytest.skip("takes long: --hypothesis-profile=long")
