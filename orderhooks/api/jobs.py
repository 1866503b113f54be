"""What replays and backfills have in common in the API: who may start and cancel them, and for which subscription."""

from collections.abc import Callable
from typing import Any

from rest_framework import mixins, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import permissions
from orderhooks.api import access
from orderhooks.api.fields import StrictCharField
from orderhooks.api.protocol import history
from orderhooks.api.protocol.problems import ConflictError
from orderhooks.api.resources import ResourceViewSet
from orderhooks.models import Subscription

__all__ = ["START", "JobViewSet", "job_permissions", "named_subscription", "subscription_field"]

# The permissions that start a job.
START = (permissions.REDELIVER_DELIVERY, permissions.VIEW_SUBSCRIPTION)


def job_permissions(view: str) -> dict[str, tuple[str, ...]]:
    """The `required_permissions` of a JobViewSet. `view`: the permission that shows its jobs."""
    return {"create": START, "cancel": (*START, view)}


def subscription_field() -> StrictCharField:
    """The member of a request's body that `named_subscription` takes."""
    return StrictCharField(max_length=64, help_text="The id of the subscription.")


def named_subscription(request: Request, public_id: str) -> Subscription:
    """The subscription of a job to start. Raises ValidationError if the user may not see it, or its store's orders."""
    subscription = access.subscriptions_of(request.user).filter(public_id=public_id).first()
    if subscription is None or not access.may_see_store(request.user, subscription.store):
        text = "There is no subscription with this id, or you may not see it."
        raise serializers.ValidationError({"subscription": [text]}, code="unknown")
    return subscription


class JobViewSet(mixins.RetrieveModelMixin, mixins.ListModelMixin, ResourceViewSet[Any]):
    """Jobs of the subscriptions that the user may see."""

    actions_without_body = ["cancel"]
    throttle_scopes = {"create": "replay"}

    def cancelled(self, request: Request, cancel: Callable[[Any], bool]) -> Response:
        """Cancel the job. Raises ConflictError if it has already ended."""
        job = self.get_object()
        if not cancel(job):
            raise ConflictError(f"The {job._meta.model_name} is already {job.get_state_display()}.")
        history.log_change(request, job, "Cancelled.")
        return Response(self.get_serializer(self.get_object()).data)
