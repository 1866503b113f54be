"""Forms that write only what somebody altered. A value that a page can't show exactly stays as it was."""

from datetime import datetime
from functools import cached_property
from typing import Any

from django import forms

from orderhooks.admin.times import NOT_SHOWABLE
from orderhooks.sources.values import is_showable

__all__ = ["KeepsUnaltered"]

TEXTS = (forms.CharField, forms.EmailField)
# Fields whose text on a page is not the whole value. Amounts and JSON come back as they are.
EXACT = (*TEXTS, forms.SplitDateTimeField)


class KeepsUnaltered(forms.ModelForm):
    """Keeps the stored value of each field that comes back as it was shown.

    A page shows a time without its microseconds, and a time in the hour that comes twice can't be typed at all;
    browsers send line ends as CR LF from a text area, and none from a line. Saved so, the order would have changed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:
            for field in self.fields.values():
                # Django has the page send what it showed where a field's default is a function; the row has it.
                field.show_hidden_initial = False

    @cached_property
    def changed_data(self) -> list[str]:
        return [name for name in super().changed_data if not self._is_same_text(name)]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name, value in list(cleaned.items()):
            if name in self.changed_data and isinstance(value, datetime) and not is_showable(value):
                self.add_error(name, NOT_SHOWABLE)
        if self.instance._state.adding:
            return cleaned
        altered = set(self.changed_data)
        for name, field in self.fields.items():
            if name in altered or type(field) not in EXACT:
                continue
            self.errors.pop(name, None)
            cleaned[name] = getattr(self.instance, name)
        return cleaned

    def _is_same_text(self, name: str) -> bool:
        """Whether only line ends and blanks around the text differ, which browsers and Django alter by themselves."""
        if type(self.fields[name]) not in TEXTS:
            return False
        bound = self[name]
        return _plain(bound.initial) == _plain(bound.data)


def _plain(text: Any) -> str:
    return "".join(str(text or "").splitlines()).strip()
