"""The forms of an order's page: of the order itself, and of each kind of row that belongs to it."""

import re
from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.forms.fields import InvalidJSONInput
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _

from orderhooks import payloads
from orderhooks.admin.stores import StoreForm
from orderhooks.admin.unaltered import KeepsUnaltered
from orderhooks.models import Fulfillment, Order, OrderLine
from orderhooks.models.fulfillments import problems_of_line

__all__ = ["AMOUNTS", "FulfillmentForm", "OrderForm", "OrderLineForm", "RowForm"]

# A line of what was typed: a quantity and an SKU, such as "2 x TEA-1".
PIECES = re.compile(r"([0-9]{1,9})\s*[x×]\s*(\S.*)")


class JsonObjectField(forms.JSONField):
    """A JSON object that receivers can be sent and every database can store. Nothing typed means `{}`."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except (RecursionError, ValueError) as error:  # nested too deep for Python; a number of too many digits
            raise ValidationError(_("Write a flatter JSON object with shorter numbers."), code="json") from error

    def bound_data(self, data: Any, initial: Any) -> Any:
        """What was typed, also where Python can't read it, or where the page could not hold what it reads."""
        try:
            found = super().bound_data(data, initial)
            self.prepare_value(found).encode()  # not possible with half of a surrogate pair
        except (RecursionError, ValueError):
            return InvalidJSONInput(data)
        return found

    def clean(self, value: Any) -> dict[str, Any]:
        data = super().clean(value)
        if data is None:
            return {}
        if not isinstance(data, dict):
            raise ValidationError(_('Write a JSON object such as {"city": "Kyoto"}.'), code="object")
        try:
            payloads.check(data)
        except (TypeError, ValueError) as error:
            raise ValidationError(
                _("This can't be sent as JSON; leave out NaN, Infinity and NUL characters. (%(error)s)"),
                code="json",
                params={"error": error},
            ) from None
        return data


class AmountField(forms.DecimalField):
    """A number. Django compares a signalling NaN with the stored value, which raises, before it would refuse it."""

    def to_python(self, value: Any) -> Any:
        amount = super().to_python(value)
        if amount is not None and not amount.is_finite():
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return amount


AMOUNTS: Any = {models.DecimalField: {"form_class": AmountField}}


class OrderForm(KeepsUnaltered, StoreForm):
    class Meta:
        model = Order
        exclude: tuple[str, ...] = ()
        field_classes = {
            "billing_address": JsonObjectField,
            "shipping_address": JsonObjectField,
            "metadata": JsonObjectField,
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # From the URL of a new order they come as text, which the two inputs of a time can't show.
        for name, field in self.fields.items():
            if isinstance(field, forms.SplitDateTimeField) and isinstance(given := self.initial.get(name), str):
                self.initial[name] = _time_of(given)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        number, store = cleaned.get("number"), cleaned.get("store")
        if number is None or store is None:
            return cleaned
        if not number and not self.instance._state.adding:
            self.add_error("number", _("A number is made only for a new order. Give this one its number."))
        elif number and Order.objects.filter(store=store, number=number).exclude(pk=self.instance.pk).exists():
            self.add_error(
                "number",
                _("The store has an order with this number. Use another, or leave it blank on a new order."),
            )
        return cleaned

    def _get_validation_exclusions(self) -> set[str]:
        # A blank number becomes a number in save(); the constraint that there is one would refuse it before that.
        excluded: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return excluded if self.cleaned_data.get("number") else {*excluded, "number"}


def _time_of(text: str) -> datetime | None:
    """A time in the user's zone; None if the text is not a valid one."""
    try:
        at = parse_datetime(text)
        return at if at is None or timezone.is_naive(at) else timezone.localtime(at).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


class OrderLineForm(KeepsUnaltered):
    class Meta:
        model = OrderLine
        exclude: tuple[str, ...] = ()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        quantity, fulfilled = cleaned.get("quantity"), cleaned.get("fulfilled_quantity")
        if quantity is not None and fulfilled is not None and fulfilled > quantity:
            self.add_error("fulfilled_quantity", _("No more than the quantity can be fulfilled."))
        return cleaned


class RowForm(KeepsUnaltered):
    """For rows whose fields need no other rule than that of the model."""

    class Meta:
        exclude: tuple[str, ...] = ()


def _lines_of(text: Any) -> list[str]:
    return [line.strip() for line in str(text or "").splitlines() if line.strip()]


class ContentsField(forms.CharField):
    """What is in a fulfillment: text with a quantity and an SKU in each line. The form reads it, because it has the
    order.
    """

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, str) or value is None:
            return value
        return "\n".join(f"{quantity} x {sku}" for quantity, sku in value)

    def has_changed(self, initial: Any, data: Any) -> bool:
        # Compared as shown: a text can't show each SKU exactly, such as one that ends in a blank.
        return _lines_of(data) != _lines_of(self.prepare_value(initial))


def _pieces(line: str) -> tuple[int, str]:
    """The quantity and the SKU in a line of the text. Raises ValidationError."""
    match = PIECES.fullmatch(line)
    if match is None:
        text = _("“%(line)s” is not a quantity and an SKU, such as 2 x TEA-1.")
        raise ValidationError(text, code="contents", params={"line": line})
    return int(match[1]), match[2]


class FulfillmentForm(KeepsUnaltered):
    """A fulfillment with its lines, which are typed as text because Django's admin nests no inlines."""

    contents = ContentsField(
        label=_("contents"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "cols": 16}),
        help_text=_("A quantity and an SKU of the order in each line, such as 2 x TEA-1."),
    )

    class Meta:
        model = Fulfillment
        exclude: tuple[str, ...] = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if not self.instance._state.adding:
            self.initial.setdefault("contents", contents_of(self.instance))

    def clean_contents(self) -> list[tuple[OrderLine, int]]:
        """The lines of the order that were typed, each once, with their quantities. Empty if nothing was altered."""
        if "contents" not in self.changed_data:
            return []  # the order may have changed since, and that is no error of this page
        lines: dict[str, list[OrderLine]] = {}
        in_it = set(self.instance.lines.values_list("line", flat=True)) if self.instance.pk else set()
        rows = OrderLine.objects.filter(order=self.instance.order_id).order_by("pk")
        # Those that are in it already come first, so that a new quantity stays at its line.
        for one in sorted(rows, key=lambda row: row.pk not in in_it):
            lines.setdefault(one.sku.strip(), []).append(one)
        chosen: dict[int, tuple[OrderLine, int]] = {}
        for quantity, sku in map(_pieces, _lines_of(self.cleaned_data["contents"])):
            # Several lines may have this SKU: the next one that was not chosen yet.
            line = next((one for one in lines.get(sku, ()) if one.pk not in chosen), None)
            if line is None:
                raise ValidationError(
                    _("The order has no other line with the SKU %(sku)s."), code="sku", params={"sku": sku}
                )
            if quantity < 1:
                raise ValidationError(_("Leave out what is not in it."), code="quantity")
            for text in problems_of_line(line, quantity, order_pk=self.instance.order_id).values():
                raise ValidationError(_("%(sku)s: %(problem)s"), code="quantity", params={"sku": sku, "problem": text})
            chosen[line.pk] = (line, quantity)
        return list(chosen.values())

    def _save_m2m(self) -> None:
        super()._save_m2m()  # type: ignore[misc]
        if "contents" in self.changed_data:
            contents = dict(self.cleaned_data["contents"])
            # A line of the order may have been deleted on the same page.
            existing = OrderLine.objects.filter(pk__in=[line.pk for line in contents])
            self.instance.set_lines({line: contents[line] for line in existing})


def contents_of(fulfillment: Fulfillment) -> list[tuple[int, str]]:
    """What is in a fulfillment: a quantity and an SKU for each line."""
    return [(row.quantity, row.line.sku) for row in fulfillment.lines.all()]
