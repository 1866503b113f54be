"""The operations on subscriptions, by their ids and by their names."""

from orderhooks.api.deliveries import DeliveryDetailSerializer
from orderhooks.api.openapi.describing import NO_NUL, Answer, Key, Operation, Page, Schema, object_of
from orderhooks.api.openapi.parameters import DATE_TIME, in_query, page_size
from orderhooks.api.replays import PlanSerializer, ReplaySerializer
from orderhooks.api.statistics import DEFAULT_HOURS, MAX_HOURS, StatisticsSerializer
from orderhooks.api.subscription_fields import SubscriptionSerializer
from orderhooks.api.subscriptions import ResumptionSerializer, RotationSerializer

__all__ = ["HOURS_PARAMETER", "OPERATIONS", "REPLAY_ANSWERS"]

EXAMPLE = {
    "name": "CRM",
    "url": "https://crm.example.com/webhooks",
    "topics": ["order.paid", "order.cancelled"],
    "contact_email": "team@example.com",
}
REFUSED = "It is of the right form, but can't be: the URL, a topic or a header is refused, or the store is not yours."
SHOWN_ONCE = "A signing secret is in the answer to the request that makes it, and in no other: keep it."
KNOWN = {200: Answer("The subscription.", SubscriptionSerializer)}
MADE = {201: Answer("The subscription, with its secret.", SubscriptionSerializer, secret=True)}
CHANGED = {200: Answer("The subscription as it is now.", SubscriptionSerializer, secret=True)}
HOURS_PARAMETER = in_query(
    "hours",
    {"type": "integer", "minimum": 1, "maximum": MAX_HOURS, "default": DEFAULT_HOURS},
    "The last hours to count.",
)
COUNT: Schema = {
    **object_of(count={"type": "integer"}, count_is_exact={"type": "boolean"}),
    "description": "How many deliveries a replay would send.",
}
REPLAY_ANSWERS = {
    200: Answer("With `dry_run`: how many deliveries it would send; nothing is done.", COUNT),
    202: Answer("The replay, which has begun.", ReplaySerializer),
}
PREVIEW = object_of(
    wanted={"type": "boolean", "description": "Whether the subscription would get it at all."},
    url={"type": "string"},
    headers={"type": "object", "additionalProperties": {"type": "string"}},
    body={"type": "string"},
)
MISSED = object_of(
    next={
        "type": ["string", "null"],
        "description": "The address of what comes next. A page may be empty though this leads on.",
    },
    results={"type": "array", "items": {"$ref": "#/components/schemas/Missed"}},
)
NO_DELIVERY = {"type": "string", "minLength": 1, "pattern": NO_NUL}

BY_ID: dict[Key, Operation] = {
    ("SubscriptionViewSet", "list"): Operation(
        "listSubscriptions",
        "List subscriptions",
        {200: Answer("A page of subscriptions, newest first.", Page(SubscriptionSerializer))},
    ),
    ("SubscriptionViewSet", "create"): Operation(
        "createSubscription",
        "Subscribe",
        MADE,
        f"It gets the events of orders that change from then on. {SHOWN_ONCE}",
        body=SubscriptionSerializer,
        example=EXAMPLE,
        problems={422: REFUSED},
    ),
    ("SubscriptionViewSet", "retrieve"): Operation("getSubscription", "Read a subscription", KNOWN),
    ("SubscriptionViewSet", "update"): Operation(
        "replaceSubscription",
        "Change a subscription",
        CHANGED,
        "Fields that are not given stay as they are.",
        body=SubscriptionSerializer,
        example=EXAMPLE,
        problems={422: REFUSED},
    ),
    ("SubscriptionViewSet", "partial_update"): Operation(
        "changeSubscription",
        "Change some of a subscription",
        CHANGED,
        f"What is not given stays as it is. A `signature` of another kind makes a new secret. {SHOWN_ONCE}",
        body=SubscriptionSerializer,
        example={"topics": ["order.*"]},
        problems={422: REFUSED},
    ),
    ("SubscriptionViewSet", "destroy"): Operation(
        "deleteSubscription", "Delete a subscription", {204: Answer("It is gone, with its log.")}
    ),
    ("SubscriptionViewSet", "test"): Operation(
        "testSubscription",
        "Test the endpoint",
        {200: Answer("The delivery, with the endpoint's answer.", DeliveryDetailSerializer)},
        "Sends an example order as `webhook.test` now, also if it is paused or disabled, and waits for the answer.",
    ),
    ("SubscriptionViewSet", "pause"): Operation(
        "pauseSubscription", "Pause", KNOWN, "Its deliveries are held until it is resumed."
    ),
    ("SubscriptionViewSet", "resume"): Operation(
        "resumeSubscription",
        "Resume",
        KNOWN,
        "What was held goes out, but for what is older than `skip_before`, which is skipped.",
        body=ResumptionSerializer,
        example={"skip_before": "2026-11-24T06:00:00Z"},
        problems={422: "There is no such moment."},
    ),
    ("SubscriptionViewSet", "rotate_secret"): Operation(
        "rotateSecret",
        "Make a new signing secret",
        CHANGED,
        f"{SHOWN_ONCE} The former ones sign beside it for `overlap_hours`.",
        body=RotationSerializer,
        example={"overlap_hours": 48},
    ),
    ("SubscriptionViewSet", "revoke_former_secrets"): Operation(
        "revokeFormerSecrets",
        "Revoke former signing secrets",
        {200: Answer("How many signed beside the newest until now.", object_of(revoked={"type": "integer"}))},
    ),
    ("SubscriptionViewSet", "replay"): Operation(
        "replayToSubscription",
        "Send events of a time again",
        REPLAY_ANSWERS,
        body=PlanSerializer,
        example={"since": "2026-11-23T00:00:00Z", "only": "failed", "dry_run": True},
        problems={422: "The time makes no sense, or there is no such topic."},
    ),
    ("SubscriptionViewSet", "stats"): Operation(
        "getSubscriptionStatistics",
        "How its deliveries have been going",
        {200: Answer("Success rate, times and what waits, also by hour.", StatisticsSerializer)},
        parameters=[HOURS_PARAMETER],
    ),
    ("SubscriptionViewSet", "missed"): Operation(
        "listMissed",
        "What it has not got",
        {200: Answer("A page, oldest first, each with the reason.", MISSED)},
        "What the subscription wanted and has not got, for a receiver that was away.",
        parameters=[
            in_query("since", DATE_TIME, "From then on; else of the last 24 hours."),
            in_query("cursor", {"type": "string", "pattern": "^evt_[0-9A-Z]{26}$"}, "From `next` of another page."),
            page_size(),
        ],
        problems={422: "There is no such moment."},
    ),
    ("SubscriptionViewSet", "preview"): Operation(
        "previewRequest",
        "Preview a request",
        {200: Answer("The request, truly signed; values of own headers are hidden.", PREVIEW)},
        "What an order would send if a topic happened to it. Nothing is sent.",
        parameters=[
            in_query("order", NO_DELIVERY, "The order's number.", required=True),
            in_query("topic", NO_DELIVERY, "A topic of the catalogue.", required=True),
        ],
        problems={409: "There is no such order, or no request can be made.", 422: "There is no such topic."},
    ),
}
TWINS = {409: "Several subscriptions have this name."}
BY_NAME: dict[Key, Operation] = {
    ("NamedSubscriptionViewSet", "retrieve"): Operation(
        "getSubscriptionByName", "Read a subscription by its name", KNOWN, problems=TWINS
    ),
    ("NamedSubscriptionViewSet", "upsert"): Operation(
        "putSubscriptionByName",
        "Declare a subscription",
        {**CHANGED, **MADE},
        "Makes the subscription of this name, or changes it into what is sent: what is left out is at its default"
        f" afterwards, but for its `state`. The same twice is the same as once. {SHOWN_ONCE}",
        body=SubscriptionSerializer,
        without=["name"],
        example={name: value for name, value in EXAMPLE.items() if name != "name"},
        problems={**TWINS, 422: REFUSED},
    ),
    ("NamedSubscriptionViewSet", "destroy"): Operation(
        "deleteSubscriptionByName",
        "Delete a subscription by its name",
        {204: Answer("It is gone, with its log.")},
        problems=TWINS,
    ),
}
OPERATIONS = BY_ID | BY_NAME
