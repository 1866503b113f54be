"""Which django-oscar is tested, and that it supports this Django. The only test here that runs without Oscar."""

import django
import pytest
from django.apps import apps


def test_an_oscar_that_is_supported_is_installed() -> None:
    if not apps.is_installed("orderhooks.contrib.oscar"):
        pytest.skip("django-oscar is tested in an environment of its own: `make oscar`")
    import oscar

    assert oscar.VERSION[:2] >= (4, 2)
    assert (5, 2) <= django.VERSION[:2] <= (6, 1)
