"""Subscriptions by name, for programs that declare what should exist. Sending a PUT twice has the effect of one."""

from typing import Any

from django.db.models import Q
from django.views.decorators.debug import sensitive_variables
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import permissions
from orderhooks.api.openapi.descriptions import ApiResponse, Operation, describe
from orderhooks.api.protocol.problems import ConflictError
from orderhooks.api.subscription_fields import SubscriptionSerializer
from orderhooks.api.subscriptions import CHANGED, CREATED, EXAMPLE, NOT_VALID, READ, SHOWN_ONCE, SubscriptionViewSet
from orderhooks.db.sealed_logins import NONE
from orderhooks.models import Subscription
from orderhooks.models.configuration import REQUIRED
from orderhooks.models.subscriptions import AmbiguousNameError, declaration_lock

__all__ = ["NamedSubscriptionViewSet"]

# PUT resets every field that is not sent to its default, except these.
KEPT_FIELDS = (*REQUIRED, "state", "api_version")

SEVERAL = {409: "Several subscriptions have this name."}


class NamedSubscriptionSerializer(SubscriptionSerializer):
    """An endpoint and the topics that it receives, without the name, which is in the URL."""

    class Meta(SubscriptionSerializer.Meta):
        fields = [name for name in SubscriptionSerializer.Meta.fields if name != "name"]


class NamedSubscriptionViewSet(SubscriptionViewSet):
    """One subscription by its name. Raises ConflictError if several that the user may see have this name."""

    lookup_field = "name"
    required_permissions = {"upsert": [permissions.ADD_SUBSCRIPTION, permissions.CHANGE_SUBSCRIPTION]}
    inherited_operations = {
        "retrieve": Operation("getSubscriptionByName", "Read a subscription by its name", READ, problems=SEVERAL),
        "destroy": Operation(
            "deleteSubscriptionByName",
            "Delete a subscription by its name",
            {204: ApiResponse("The subscription and its log are deleted.")},
            problems=SEVERAL,
        ),
    }

    def get_object(self) -> Subscription:
        found = self._find()
        if found is None:
            raise NotFound("Not found.")
        return found

    @describe(
        "putSubscriptionByName",
        "Declare a subscription",
        {**CHANGED, **CREATED},
        description="Creates the subscription with this name, or changes it. Fields that are not sent get their"
        f" defaults, except `state` and `api_version`. Sending this twice has the effect of once. {SHOWN_ONCE}",
        request=NamedSubscriptionSerializer,
        example={name: value for name, value in EXAMPLE.items() if name != "name"},
        problems={409: "Several subscriptions have this name, or it belongs to another user.", 422: NOT_VALID},
    )
    @sensitive_variables()
    def upsert(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Create the subscription (201, with its `secret`) or change it (200).

        Fields that are not sent get their defaults, except `state` and `api_version`.
        """
        name = self._name()
        with declaration_lock(name):
            found = self._find_changeable()
            data = request.data
            if isinstance(data, dict):
                data = {**self._defaults(), **data, "name": self.kwargs["name"]}
            if found is not None:
                return self._update(found, data, partial=False)
            serializer = self.get_serializer(data=data)
            serializer.is_valid(raise_exception=True)
            return self._create(serializer.validated_data)

    def _name(self) -> str:
        # The serializer strips the name that it saves.
        return str(self.kwargs["name"]).strip()

    def _find(self) -> Subscription | None:
        visible: Any = self.get_queryset()
        try:
            found: Subscription | None = visible.named(self._name())
        except AmbiguousNameError as error:
            raise ConflictError(str(error)) from None
        return found

    def _find_changeable(self) -> Subscription | None:
        """The subscription to change: the user's own, or one without an owner. None if there is none yet.

        Raises ConflictError if the name belongs to another user's subscription.
        """
        visible: Any = self.get_queryset()
        try:
            own: Subscription | None = visible.filter(Q(owner=None) | Q(owner=self.request.user)).named(self._name())
        except AmbiguousNameError as error:
            raise ConflictError(str(error)) from None
        if own is None and (other := self._find()) is not None:
            raise ConflictError(
                f"The subscription {other.public_id} of another user has this name. Use another name, or change that"
                " subscription by its id."
            )
        return own

    def _defaults(self) -> dict[str, Any]:
        serializer: Any = self.get_serializer()
        defaults = {
            name: Subscription._meta.get_field(name).get_default()  # type: ignore[union-attr]
            for name, field in serializer.fields.items()
            if not field.read_only and name not in KEPT_FIELDS
        }
        # As a client would send it: the model's own {} is refused, because it names no type.
        return {**defaults, "authentication": {"type": NONE}, "client_certificate": None}
