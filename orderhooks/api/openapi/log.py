"""The operations on deliveries, replays and statistics."""

from orderhooks.api.deliveries import (
    AttemptSerializer,
    ChosenSerializer,
    DeliveryDetailSerializer,
    DeliverySerializer,
)
from orderhooks.api.openapi.describing import Answer, Key, Operation, Page, object_of
from orderhooks.api.openapi.subscriptions import HOURS_PARAMETER, REPLAY_ANSWERS
from orderhooks.api.replays import PlanForSerializer, ReplaySerializer
from orderhooks.api.statistics import StatisticsSerializer

__all__ = ["OPERATIONS"]

UNKNOWN = "There is one among them that you may not see, or that there is not."
CHOSEN = {"deliveries": ["dlv_01KAR5BBR0D4Y8H6S1V3PBN2WK"]}

DELIVERIES: dict[Key, Operation] = {
    ("DeliveryViewSet", "list"): Operation(
        "listDeliveries",
        "List deliveries",
        {200: Answer("A page of the log, newest first.", Page(DeliverySerializer))},
    ),
    ("DeliveryViewSet", "retrieve"): Operation(
        "getDelivery",
        "Read a delivery",
        {200: Answer("The delivery, with a summary and its attempts.", DeliveryDetailSerializer)},
    ),
    ("DeliveryViewSet", "attempts"): Operation(
        "listAttempts",
        "List a delivery's attempts",
        {200: Answer("A page of attempts, newest first.", Page(AttemptSerializer))},
    ),
    ("DeliveryViewSet", "curl"): Operation(
        "getCurlScript",
        "A delivery as a curl script",
        {200: Answer("A shell script that sends the same request.", object_of(script={"type": "string"}))},
        "It reads the signing secret from its environment.",
    ),
    ("DeliveryViewSet", "redeliver"): Operation(
        "redeliver",
        "Redeliver",
        {202: Answer("The delivery, due now.", DeliveryDetailSerializer)},
        problems={409: "It is being sent at this moment, or it is a test; or the key came with another request."},
    ),
    ("DeliveryViewSet", "skip"): Operation(
        "skipDelivery",
        "Skip a delivery",
        {200: Answer("The delivery, skipped.", DeliveryDetailSerializer)},
        "One that waits or has failed: it is not sent, and nothing waits for it.",
        problems={409: "It neither waits nor has failed; or the key came with another request."},
    ),
    ("DeliveryViewSet", "redeliver_many"): Operation(
        "redeliverMany",
        "Redeliver many",
        {202: Answer("How many will be sent again.", object_of(redelivered={"type": "integer"}))},
        body=ChosenSerializer,
        example=CHOSEN,
        problems={422: UNKNOWN},
    ),
    ("DeliveryViewSet", "skip_many"): Operation(
        "skipMany",
        "Skip many",
        {200: Answer("How many waited or had failed, and are skipped now.", object_of(skipped={"type": "integer"}))},
        body=ChosenSerializer,
        example=CHOSEN,
        problems={422: UNKNOWN},
    ),
}
REPLAYS: dict[Key, Operation] = {
    ("ReplayViewSet", "list"): Operation(
        "listReplays", "List replays", {200: Answer("A page of replays, newest first.", Page(ReplaySerializer))}
    ),
    ("ReplayViewSet", "create"): Operation(
        "createReplay",
        "Send events of a time again",
        REPLAY_ANSWERS,
        body=PlanForSerializer,
        example={
            "subscription": "sub_01KAR5BBR0D4Y8H6S1V3PBN2WK",
            "since": "2026-11-23T00:00:00Z",
            "only": "never_sent",
        },
        problems={422: "The time makes no sense, or there is no such topic or subscription."},
    ),
    ("ReplayViewSet", "retrieve"): Operation(
        "getReplay", "Read a replay", {200: Answer("The replay, and how far it has got.", ReplaySerializer)}
    ),
    ("ReplayViewSet", "cancel"): Operation(
        "cancelReplay",
        "Cancel a replay",
        {200: Answer("The replay, cancelled.", ReplaySerializer)},
        "What it has made due already is sent.",
        problems={409: "It is through or cancelled already; or the key came with another request."},
    ),
}
STATISTICS: dict[Key, Operation] = {
    ("StatisticsViewSet", "list"): Operation(
        "getStatistics",
        "How deliveries have been going",
        {200: Answer("Success rate, times and what waits, also by hour.", StatisticsSerializer)},
        "Of all subscriptions that you see.",
        parameters=[HOURS_PARAMETER],
    ),
}
OPERATIONS = DELIVERIES | REPLAYS | STATISTICS
