"""What receivers may ask of the API without a login: to be sent webhooks again. The subscription's secret signs it.

# Note [Requests of receivers]
The signature is that of a webhook, by the same secret. So the body says what it is for, and for which subscription:
neither a webhook that somebody has seen nor a request for another subscription can be used. Each `webhook-id` works
once. An unknown id and a wrong signature get the same response after the same steps, so that nobody learns which
subscriptions exist.

Two limits: all requests count by address, and those whose signature is right also by subscription, whatever the
address. Others do not count by subscription, because anyone could send them and so lock the receiver out.
"""

import re
from typing import Any

from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from rest_framework import serializers
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import encryption, logs, operations, signing
from orderhooks.api.fields import StrictCharField, StrictChoiceField
from orderhooks.api.members import PlainSerializer
from orderhooks.api.openapi.descriptions import ApiResponse, describe, object_of
from orderhooks.api.openapi.parameters import in_header
from orderhooks.api.protocol import history
from orderhooks.api.protocol.problems import ConflictError
from orderhooks.api.protocol.throttling import ActionThrottle
from orderhooks.api.resources import ApiViewSet
from orderhooks.encryption import Purpose
from orderhooks.models import Receipt, Subscription, SubscriptionSecret
from orderhooks.models.signing_secrets import MOST_SECRETS
from orderhooks.receiver import InvalidWebhookError
from orderhooks.receiver.resuming import RESUME
from orderhooks.receiver.verification import check_signature

__all__ = ["ReceiverRequestViewSet"]

logger = logs.get_logger("orderhooks")

REFUSED = (
    "There is no such subscription, or none of its secrets in force has signed this request. Send the headers "
    "webhook-id, webhook-timestamp (at most five minutes from now) and webhook-signature, of the raw body, as "
    "orderhooks.receiver.resume_request makes them. A subscription with the signature ed25519 can't be resumed so: its "
    "receiver has only a public key."
)
PAUSED = "An operator has paused this subscription. Only an operator can resume it: ask the store."


class ReceiverResumptionSerializer(PlainSerializer):
    """What the receiver asks for."""

    type = StrictChoiceField(choices=[(RESUME, RESUME)])
    subscription = StrictCharField(max_length=64, help_text="The id in the URL.")


class ReceiverRequestViewSet(ApiViewSet):
    """Requests that receivers sign. See Note [Requests of receivers]."""

    queryset = Subscription.objects.none()
    public_id_prefix = "sub_"
    authentication_classes = []
    permission_classes = []
    throttle_scopes = {"resume": "resume"}
    takes_idempotency_keys = False
    # What was asked once stays recorded, also if it is refused.
    actions_outside_transactions = ["resume"]

    def get_authenticate_header(self, request: Request) -> str:
        return "Webhook-Signature"

    @describe(
        "resumeByReceiver",
        "Resume, as the receiver",
        {
            200: ApiResponse(
                "It is active. `resumed`: whether it was disabled before.",
                object_of(state={"type": "string", "const": "active"}, resumed={"type": "boolean"}),
            )
        },
        description="For a receiver that failed, or asked to be disabled (410, `webhook-delivery: disable`), and is"
        " back. It needs no login: a secret of the subscription signs the body, by Standard Webhooks. Held deliveries"
        " are sent. What an operator has paused stays paused.",
        request=ReceiverResumptionSerializer,
        example={"type": RESUME, "subscription": "sub_01KAR5BBR0D4Y8H6S1V3PBN2WK"},
        parameters=[
            in_header("webhook-id", {"type": "string"}, "An id that you choose; each can be used once."),
            in_header("webhook-timestamp", {"type": "string"}, "Now, in whole Unix seconds."),
            in_header("webhook-signature", {"type": "string"}, "`v1,` and the base64 of the signature."),
        ],
        problems={
            401: "The subscription is unknown, or the request is not signed with its secret.",
            409: "An operator has paused the subscription, or the `webhook-id` was used before.",
            422: "The body is about another subscription.",
        },
    )
    def resume(self, request: Request, public_id: str, **kwargs: Any) -> Response:
        """Resume the subscription as its receiver asks, unless an operator has paused it."""
        subscription = _verified(request, public_id)
        self._require_rate_of(subscription, request)
        serializer = ReceiverResumptionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        if serializer.validated_data["subscription"] != public_id:
            raise serializers.ValidationError({"subscription": ["Send the id in the URL."]}, code="unknown")
        if not Receipt.objects.record(receiver=f"resume {public_id}", webhook_id=request.headers["webhook-id"]):
            raise ConflictError("This webhook-id was used before. Sign a new request.", code="webhook_id_used")
        resumed = operations.resume_by_receiver(subscription)
        if resumed is None:
            raise ConflictError(PAUSED, code="paused")
        if resumed:
            logger.info("subscription resumed by its receiver", subscription=public_id)
            history.log_receivers_change(subscription, "Resumed: it was disabled.")
        return Response({"state": Subscription.State.ACTIVE.value, "resumed": resumed})

    def _require_rate_of(self, subscription: Subscription, request: Request) -> None:
        """Raises Throttled if the subscription's receiver has asked too often, from all its addresses together."""
        throttle = ActionThrottle("resume", subscription=subscription.public_id)
        if not throttle.allow_request(request, self):
            raise Throttled(throttle.wait())


@sensitive_variables()
def _verified(request: Request, public_id: str) -> Subscription:
    """The subscription whose secret has signed the request. Raises AuthenticationFailed."""
    # The raw body is available only before DRF parses it.
    body = request._request.body
    rows = _secrets_of(public_id)
    try:
        check_signature(body, request.headers, [row.reveal() for row in rows] or [_decoy()])
    except (InvalidWebhookError, encryption.UndecryptableError) as error:
        if isinstance(error, encryption.UndecryptableError):
            logger.warning(
                "a secret is not readable: the receiver can't resume its subscription", subscription=public_id
            )
        raise AuthenticationFailed(REFUSED, code="signature") from None
    return rows[0].subscription


def _secrets_of(public_id: str) -> list[SubscriptionSecret]:
    """The secrets in force that its receiver has too, newest first."""
    known = public_id if re.fullmatch("sub_[0-9A-Z]{26}", public_id) else ""
    live = SubscriptionSecret.objects.live(now=timezone.now()).filter(subscription__public_id=known, public_key="")
    return list(live.select_related("subscription__owner").order_by("-pk")[:MOST_SECRETS])


@sensitive_variables()
def _decoy() -> str:
    """A secret that nobody has, made with the steps that read a real one."""
    return encryption.decrypt(
        encryption.encrypt(signing.generate_secret(), Purpose.SIGNING_SECRET), Purpose.SIGNING_SECRET
    )
