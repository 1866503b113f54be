"""Subscriptions by name, for programs that declare what there shall be: the same PUT twice is the same as once."""

from typing import Any

from django.db.models import Q
from django.views.decorators.debug import sensitive_variables
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks.api.protocol.problems import ConflictError
from orderhooks.api.subscriptions import SubscriptionViewSet
from orderhooks.models import Subscription
from orderhooks.models.subscriptions import AmbiguousNameError, sole_declaration

__all__ = ["NamedSubscriptionViewSet"]

# What is given in any case, or stays as it is if it is not.
NOT_RESET = ("name", "url", "topics", "state")


class NamedSubscriptionViewSet(SubscriptionViewSet):
    """One subscription, known by a name that no other one has among those that the user sees."""

    lookup_field = "name"
    required_permissions = {"upsert": ["orderhooks.add_subscription", "orderhooks.change_subscription"]}

    def get_object(self) -> Subscription:
        found = self._find()
        if found is None:
            raise NotFound("There is no subscription of this name that you may see.")
        return found

    @sensitive_variables()
    def upsert(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Makes the subscription (201, with its `secret`) or changes it (200). What is not given is at its default
        afterwards, but for its `state`.
        """
        name = self._name()
        with sole_declaration(name):
            found = self._declared()
            data = request.data
            if isinstance(data, dict):
                data = {**self._defaults(), **data, "name": self.kwargs["name"]}
            if found is not None:
                return self._update(found, data, partial=False)
            serializer = self.get_serializer(data=data)
            serializer.is_valid(raise_exception=True)
            return self._create(serializer.validated_data)

    def _name(self) -> str:
        # As the serializer strips the name that it saves.
        return str(self.kwargs["name"]).strip()

    def _find(self) -> Subscription | None:
        visible: Any = self.get_queryset()
        try:
            return visible.named(self._name())
        except AmbiguousNameError as error:
            raise ConflictError(str(error)) from None

    def _declared(self) -> Subscription | None:
        """The one to change: the user's own, or nobody's. Raises ConflictError where the name is somebody else's."""
        visible: Any = self.get_queryset()
        try:
            own = visible.filter(Q(owner=None) | Q(owner=self.request.user)).named(self._name())
        except AmbiguousNameError as error:
            raise ConflictError(str(error)) from None
        if own is None and (other := self._find()) is not None:
            raise ConflictError(
                f"{other.public_id} has this name and belongs to somebody else. Declare another name, or change it"
                " by its id."
            )
        return own

    def _defaults(self) -> dict[str, Any]:
        serializer: Any = self.get_serializer()
        return {
            name: Subscription._meta.get_field(name).get_default()  # type: ignore[union-attr]
            for name, field in serializer.fields.items()
            if not field.read_only and name not in NOT_RESET
        }
