"""Columns of our own kind: headers whose values are sealed on their way into the database."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.views.decorators.debug import sensitive_variables

from orderhooks import transport
from orderhooks.encryption import HIDDEN, Sealed


class SealedHeadersField(models.JSONField):
    """Header names, each with a text or a `Sealed`; what is read back is sealed. Saving checks and seals the texts.

    Stored as `{"X-Api-Key": {"sealed": "<Fernet token>"}}`; fixtures have the same form.
    """

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return self.to_python(super().from_db_value(value, expression, connection))

    def to_python(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        # By name: PostgreSQL does not keep the order in which they were given.
        return {
            name: Sealed(one["sealed"]) if isinstance(one, Mapping) and set(one) == {"sealed"} else one
            for name, one in sorted(value.items())
        }

    @sensitive_variables()
    def validate(self, value: Any, model_instance: models.Model | None) -> None:
        super().validate(self.get_prep_value(value), model_instance)

    @sensitive_variables()
    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Seals the values on the instance too: otherwise printing it would show them."""
        value = super().pre_save(model_instance, add)
        if isinstance(value, Mapping):
            value = seal(value)
            setattr(model_instance, self.attname, value)
        return value

    @sensitive_variables()
    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            value = {name: {"sealed": one.token} for name, one in seal(value).items()}
        return super().get_prep_value(value)

    def value_to_string(self, obj: models.Model) -> Any:
        return self.get_prep_value(self.value_from_object(obj))


@sensitive_variables()
def seal(headers: Mapping[str, Any], *, former: Mapping[str, Sealed] | None = None) -> dict[str, Sealed]:
    """The headers with every value sealed; a value that is given as `(hidden)` is kept from `former`.

    Raises ValidationError for what can't be sent.
    """
    kept = {name.lower(): value for name, value in (former or {}).items()}
    chosen = {name: kept.get(name.lower(), value) if value == HIDDEN else value for name, value in headers.items()}
    for name, value in chosen.items():
        if value == HIDDEN or not isinstance(value, str | Sealed):
            raise ValidationError(f"Give the header {name!r} a text as its value.", code="headers")
    try:
        # A sealed value was checked when it was sealed; here its name is.
        transport.check_own_headers({name: str(value) for name, value in chosen.items()})
    except transport.InvalidHeaderError as error:
        raise ValidationError(str(error), code="headers") from None
    return {name: value if isinstance(value, Sealed) else Sealed.of(value) for name, value in chosen.items()}
