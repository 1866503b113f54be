"""Fields as other packages have them."""

import base64
import itertools
from decimal import Decimal
from typing import Any

from django.db import models

_salts = itertools.count(1)
_series = itertools.count(1)


def next_number() -> str:
    """Takes a number from a series, as a database's sequence: each call uses one up."""
    return f"N{next(_series)}"


class SealedField(models.TextField):
    """Stored in another form each time, as by a package that encrypts."""

    def get_prep_value(self, value: Any) -> Any:
        if value is None:
            return None
        plain = str(value).encode(errors="surrogatepass")
        return f"{next(_salts)}:{base64.b64encode(plain).decode()}"

    def from_db_value(self, value: Any, *_others: Any) -> Any:
        """Django passes all by position, so the names are the field's own."""
        return None if value is None else base64.b64decode(value.partition(":")[2]).decode(errors="surrogatepass")


class Amount:
    """A number with its currency."""

    def __init__(self, number: Decimal | int, currency: str) -> None:
        self.number, self.currency = number, currency


class _AmountDescriptor:
    def __init__(self, field: "AmountField") -> None:
        self.field = field

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        value = instance.__dict__[self.field.name]
        # As django-money does: a KeyError if the currency was not read.
        return value if value is None else Amount(Decimal(value), instance.__dict__[f"{self.field.name}_currency"])

    def __set__(self, instance: Any, value: Any) -> None:
        if isinstance(value, Amount):
            instance.__dict__[f"{self.field.name}_currency"] = value.currency
            value = value.number
        instance.__dict__[self.field.name] = value


class CurrencyField(models.CharField):
    def __init__(self, *args: Any, price_field: Any = None, **options: Any) -> None:
        self.price_field = price_field
        super().__init__(*args, **{"max_length": 3, "default": "EUR", **options})


class AmountField(models.DecimalField):
    """An amount in two columns, of which the model names one."""

    def contribute_to_class(self, cls: Any, name: str, private_only: bool = False) -> None:
        CurrencyField(price_field=self).contribute_to_class(cls, f"{name}_currency")
        super().contribute_to_class(cls, name, private_only)
        setattr(cls, name, _AmountDescriptor(self))

    def to_python(self, value: Any) -> Any:
        return super().to_python(value.number if isinstance(value, Amount) else value)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        return super().get_db_prep_save(self.to_python(value), connection)
