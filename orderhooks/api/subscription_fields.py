"""What a subscription looks like in the API, and what may be written of it. Secrets are no field of it.

What handles secrets hides its variables from error reports, and hands DRF nothing that would show them.
"""

from collections.abc import Collection, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.views.decorators.debug import sensitive_variables
from rest_framework import serializers

from orderhooks import signing, transport, versions
from orderhooks.api.access import ALL_STORES, manages, may_see_store, order_stores_of, stores_of
from orderhooks.api.fields import MODEL_FIELD_MAPPING, BoundedListField, StrictCharField, StrictChoiceField
from orderhooks.api.login_fields import AuthenticationField, ClientCertificateField, login_errors
from orderhooks.api.members import RowSerializer
from orderhooks.api.openapi.descriptions import Body
from orderhooks.db.encrypted_fields import seal
from orderhooks.encryption import HIDDEN, Sealed
from orderhooks.models import Subscription
from orderhooks.models.compatibility import (
    EXPRESSIONS,
    KIND_KEPT,
    ORDERS_ONLY,
    format_errors,
    operational_errors,
    selection_errors,
)
from orderhooks.models.configuration import CONFIGURABLE, validate_changed_fields, validate_topics
from orderhooks.reporting.endpoint_health import Health, health_of
from orderhooks.stores import AWAITS_OTHERS, awaits_others

__all__ = ["SubscriptionSerializer"]

State = Subscription.State
MAX_TOPICS = 200
# What attempts and orderhooks record.
RECORDED = (
    "state_reason",
    "failing_since",
    "consecutive_failures",
    "last_success_at",
    "last_failure",
    "last_failure_at",
    "circuit_open_until",
    "created_at",
    "updated_at",
)


class SealedHeadersField(serializers.DictField):
    """Header values by name, written as text and shown as `(hidden)`. Sending `(hidden)` keeps the stored value."""

    child = StrictCharField(trim_whitespace=False)

    @sensitive_variables()
    def run_validation(self, data: Any = serializers.empty) -> Any:
        if isinstance(data, dict):
            try:
                # Before the values are looked at: each would get an error.
                transport.check_header_count(data)
            except transport.InvalidHeaderError as error:
                raise serializers.ValidationError(str(error), code="headers") from None
        headers = super().run_validation(data)
        instance: Subscription | None = getattr(self.parent, "instance", None)
        try:
            return seal(headers, former=instance.headers if instance else None)
        except ValidationError as error:
            raise serializers.ValidationError(error.messages, code="headers") from None

    def to_representation(self, value: dict[str, Sealed]) -> dict[str, str]:
        return dict.fromkeys(value, HIDDEN)


class SubscriptionSerializer(RowSerializer):
    """An endpoint and the topics that it receives."""

    serializer_field_mapping = MODEL_FIELD_MAPPING

    owner = serializers.SerializerMethodField(help_text="The name of the user who created it; null if there is none.")
    topics = BoundedListField(
        child=StrictCharField(max_length=128),
        allow_empty=False,
        max_length=MAX_TOPICS,
        validators=[validate_topics],
        error_messages={"empty": 'Send at least one topic, such as ["order.paid"], ["order.*"] or ["*"].'},
    )
    changed_fields = BoundedListField(
        child=StrictCharField(max_length=200),
        required=False,
        max_length=MAX_TOPICS,
        validators=[validate_changed_fields],
        help_text="Of order.updated, only what changes one of these fields or related rows. Empty: any change.",
    )
    headers = SealedHeadersField(required=False)
    authentication = AuthenticationField(
        required=False, help_text='How requests log in. `{"type": "none"}`: by the signature and the headers alone.'
    )
    client_certificate = ClientCertificateField(
        required=False, help_text="For endpoints that demand one (mutual TLS). null: none."
    )
    signature = StrictChoiceField(choices=signing.choices(), required=False)
    public_keys = serializers.SerializerMethodField(
        help_text="The public keys that verify `v1a` signatures, newest first."
    )
    is_behind = serializers.BooleanField(
        read_only=True, help_text="Whether there is a newer version of the body than its `api_version`."
    )
    # Clients can't set `disabled`: only orderhooks disables an endpoint.
    state = StrictChoiceField(choices=[State.ACTIVE.value, State.PAUSED.value], required=False)
    max_per_minute = serializers.IntegerField(
        read_only=True,
        allow_null=True,
        help_text="How many requests a minute an endpoint of CloudEvents allows; null: no limit of this kind.",
    )
    health = serializers.SerializerMethodField()
    field_schemas: Mapping[str, Body] = {"health": {"type": "string", "enum": list(Health.values)}}

    class Meta:
        model = Subscription
        own = ["is_behind", "public_keys", "max_per_minute", "health"]
        fields = ["public_id", "owner", *CONFIGURABLE, *own, *RECORDED]
        read_only_fields = ["public_id", "is_behind", *RECORDED]

    def get_owner(self, subscription: Subscription) -> str | None:
        return subscription.owner.get_username() if subscription.owner else None

    def get_public_keys(self, subscription: Subscription) -> list[str]:
        rows = sorted(subscription.secrets.all(), key=lambda row: row.pk, reverse=True)
        return [row.public_key for row in rows if row.public_key]

    def get_health(self, subscription: Subscription) -> str:
        return health_of(subscription, now=self.context["now"]).value

    def validate_operational(self, value: bool) -> bool:
        if self.instance is not None and value != self.instance.operational:
            raise serializers.ValidationError(KIND_KEPT, code="operational")
        if value and not manages(self.context["request"].user):
            text = "Only users who may manage all subscriptions can add an operational one. Ask for that permission."
            raise serializers.ValidationError(text, code="operational")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        self._require_fitting_kind(attrs)
        self._require_header_values(attrs)
        self._require_fitting_expressions(attrs)
        self._require_compatible_format(attrs)
        if errors := login_errors(self.instance, attrs):
            raise serializers.ValidationError(errors, code="login")
        store = attrs.get("store", self.instance.store if self.instance else ALL_STORES)
        stores = stores_of(self.context["request"].user)
        # A store that the user has lost since does not prevent other changes, except sending its events elsewhere.
        is_kept = self.instance is not None and store == self.instance.store
        if is_kept and attrs.get("url", self.instance.url) != self.instance.url:  # type: ignore[union-attr]
            is_kept = may_see_store(self.context["request"].user, store)
        if not is_kept and ALL_STORES not in stores and store not in stores:
            raise serializers.ValidationError({"store": [_remedy(store, stores)]}, code="store")
        self._require_nothing_of_others(attrs)
        return attrs

    def _require_nothing_of_others(self, attrs: dict[str, Any]) -> None:
        if self.instance is None or attrs.get("url", self.instance.url) == self.instance.url:
            return
        if awaits_others(self.instance, order_stores_of(self.context["request"].user)):
            raise serializers.ValidationError({"url": [str(AWAITS_OTHERS)]}, code="store")

    def _require_fitting_kind(self, attrs: dict[str, Any]) -> None:
        chosen = self.instance or Subscription()
        values = {name: attrs.get(name, getattr(chosen, name)) for name in ("topics", *ORDERS_ONLY)}
        # A topic that is stored is not judged again.
        kind = attrs.get("operational", chosen.operational)
        if errors := operational_errors(kind, values.pop("topics"), **values):
            raise serializers.ValidationError(
                {name: error.messages for name, error in errors.items()}, code="operational"
            )

    def _require_fitting_expressions(self, attrs: dict[str, Any]) -> None:
        stored = self.instance
        version = attrs.get("api_version", stored.api_version if stored else versions.newest())
        sent = {name: attrs[name] for name in EXPRESSIONS if name in attrs}
        if stored is not None and stored.api_version != version:
            sent = {**{name: getattr(stored, name) for name in EXPRESSIONS}, **sent}
        patterns = attrs.get("topics", stored.topics if stored else [])
        if errors := selection_errors(patterns, version, **sent):
            raise serializers.ValidationError(
                {name: error.messages for name, error in errors.items()}, code="expression"
            )

    @sensitive_variables()
    def _require_compatible_format(self, attrs: dict[str, Any]) -> None:
        names = ("format", "headers", "projection")
        if not attrs.keys() & {*names}:
            return
        chosen = self.instance or Subscription()
        if errors := format_errors(*(attrs.get(name, getattr(chosen, name)) for name in names)):
            raise serializers.ValidationError({name: error.messages for name, error in errors.items()}, code="format")

    @sensitive_variables()
    def _require_header_values(self, attrs: dict[str, Any]) -> None:
        # Values sent along with a new host are refused rather than dropped, because the client named the headers.
        if self.instance is None or not {"url", "headers"} <= attrs.keys():
            return
        if missing := self.instance.headers_left_behind(url=attrs["url"], headers=attrs["headers"]):
            text = (
                "The URL has another host, and the values of these headers were set for the former one. Send the values"
                f" again, or leave the headers out: {', '.join(missing)}."
            )
            raise serializers.ValidationError({"headers": [text]}, code="headers")


def _remedy(store: str, stores: Collection[str]) -> str:
    which = f"the store {store!r}" if store else "all stores"
    allowed = (
        f"You may subscribe to: {', '.join(sorted(stores))}."
        if stores
        else (
            "You may not subscribe to any store. Ask for the permission to manage all subscriptions, or for stores of"
            " your own in the setting STORES_FOR_USER."
        )
    )
    return f"You may not subscribe to the orders of {which}. {allowed}"
