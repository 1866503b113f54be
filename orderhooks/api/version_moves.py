"""Versions of the body in the API: what a move changes for a subscription, and the move."""

from typing import Any

from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import operations, payloads, permissions, reporting, versions
from orderhooks.api import access
from orderhooks.api.fields import StrictCharField, StrictDateTimeField
from orderhooks.api.filters import require_known
from orderhooks.api.members import PlainSerializer
from orderhooks.api.openapi.descriptions import ApiResponse, describe
from orderhooks.api.openapi.parameters import TEXT, in_query
from orderhooks.api.protocol import history
from orderhooks.api.protocol.query_parameters import version_of
from orderhooks.api.resources import ResourceViewSet
from orderhooks.api.subscription_fields import SubscriptionSerializer
from orderhooks.models import Subscription
from orderhooks.models.compatibility import selection_errors
from orderhooks.models.configuration import validate_version

__all__ = ["VersionMoves"]


class VersionSerializer(serializers.Serializer[Any]):
    """A version of the body."""

    name = serializers.CharField()
    description = serializers.CharField(help_text="What is new in it.")
    deprecated_at = StrictDateTimeField(allow_null=True)
    sunset_at = StrictDateTimeField(allow_null=True)
    documentation = serializers.CharField(help_text="The URL of a page about its end; blank if there is none.")


class VersionDiffSerializer(serializers.Serializer[Any]):
    """What a move to another version of the body changes for a subscription."""

    old = serializers.CharField(help_text="The version that it is pinned to.")
    new = serializers.CharField()
    versions = VersionSerializer(many=True, help_text="Those after the older one, up to the newer one.")
    topic = serializers.CharField(help_text="The topic of the body that was compared.")
    event = serializers.CharField(help_text="The event's id; blank if the example of the topic was compared.")
    diff = serializers.SerializerMethodField(help_text="A unified diff of the body, laid out. Blank: nothing changes.")
    error = serializers.CharField(help_text="Why there is no diff.")

    def get_diff(self, move: reporting.VersionMove) -> str:
        return "\n".join(move.diff)


class VersionMoveSerializer(PlainSerializer):
    """Where to move."""

    to = StrictCharField(
        required=False,
        max_length=versions.LONGEST,
        validators=[validate_version],
        help_text="A version of the body, also an older one. The default is the newest.",
    )


class VersionMoves(ResourceViewSet[Subscription]):
    """The actions of subscriptions that have to do with versions of the body."""

    required_permissions = {
        "version_diff": [permissions.VIEW_SUBSCRIPTION],
        "move_version": [permissions.CHANGE_SUBSCRIPTION],
    }

    def with_visible_store(self) -> Subscription:
        """The subscription. Raises NotFound if its owner may no longer see the orders of its store."""
        subscription = self.get_object()
        if not access.may_see_store(self.request.user, subscription.store):
            raise NotFound(
                "You may not see the orders of this subscription's store. The setting STORES_FOR_USER decides that."
            )
        return subscription

    def subscription_response(self, subscription: Subscription) -> Response:
        raise NotImplementedError

    @describe(
        "diffVersions",
        "Show what another version changes",
        {200: ApiResponse("What changes in the body that the subscription gets.", VersionDiffSerializer)},
        description="On the newest event that it got, or without the permission `view_payload` on an example.",
        parameters=[in_query("to", TEXT, "A version of the body. The default is the newest.")],
        problems={422: "The version is not registered."},
    )
    @action(detail=True, url_path="version-diff")
    def version_diff(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What a move to the version `?to=` of the body (the newest by default) changes for the subscription."""
        require_known(request, ["to"])
        to = version_of(request, "to") or versions.newest()
        on_real_events = request.user.has_perm(permissions.VIEW_PAYLOAD)
        subscription, stores = self.with_visible_store(), access.order_stores_of(request.user)
        move = reporting.version_move(subscription, to, on_real_events=on_real_events, stores=stores)
        return Response(VersionDiffSerializer(move).data)

    @describe(
        "moveVersion",
        "Move to another version",
        {200: ApiResponse("The subscription.", SubscriptionSerializer)},
        description="From the next request on, it gets bodies in this version. The way back is the same.",
        request=VersionMoveSerializer,
        example={"to": payloads.API_VERSION},
        problems={422: "The version is not registered, or the filter or the projection does not fit its body."},
    )
    @action(detail=True, methods=["post"], url_path="move-version")
    def move_version(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Pin the subscription to the version `to` of the body, the newest by default."""
        serializer = VersionMoveSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        subscription, to = self.get_object(), serializer.validated_data.get("to", versions.newest())
        old = subscription.api_version
        errors = selection_errors(
            subscription.topics, to, filter=subscription.filter, projection=subscription.projection
        )
        if errors:
            texts = [f"The {name} does not fit this version. {error.messages[0]}" for name, error in errors.items()]
            raise serializers.ValidationError({"to": texts}, code="expression")
        if to != old:
            operations.reconfigure(subscription, {"api_version": to})
            history.log_change(request, subscription, f"Moved from version {old} to {to}.")
        return self.subscription_response(subscription)
