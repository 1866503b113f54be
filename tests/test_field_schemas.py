"""Schemas and examples of single fields, also of fields that are not Django's own."""

from typing import Any

import pytest
from django.db import models
from django.test.utils import isolate_apps

from orderhooks.sources.field_types import example_of, schema_of


@isolate_apps("tests.shapes")
def test_fields_of_other_packages_and_choices_of_functions_promise_nothing_wrong() -> None:
    class Listing(models.CharField):
        """As django-multiselectfield: its values are lists."""

        def from_db_value(self, value: Any, *_args: Any) -> Any:
            return value.split(",")

    class Odd(models.Model):
        listed = Listing(max_length=20)
        chosen = models.CharField(max_length=20, choices=lambda: pytest.fail("asked at start"))
        deferred = models.CharField(max_length=4, default=lambda: pytest.fail("asked at start"))

        class Meta:
            app_label = "shapes"

    fields = {field.name: field for field in Odd._meta.concrete_fields}
    assert schema_of(fields["listed"]) == {}
    assert schema_of(fields["chosen"]) == {"type": "string", "maxLength": 20}
    assert example_of(fields["deferred"]) == "text"
