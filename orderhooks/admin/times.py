"""Times that people type in the admin, in their own zone."""

from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from orderhooks.sources.values import is_showable

__all__ = ["NOT_SHOWABLE", "TimeField"]

NOT_SHOWABLE = _("This time can't be shown in every time zone. Use a year from 2 to 9998.")


class TimeField(forms.DateTimeField):
    """A time that every database can store and every zone can show."""

    widget = forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local"})

    def validate(self, value: Any) -> None:
        super().validate(value)
        if isinstance(value, datetime) and not is_showable(value):
            raise ValidationError(NOT_SHOWABLE, code="invalid")
