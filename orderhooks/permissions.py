"""Permissions: the names that the admin and the API check, as `User.has_perm` takes them.

Django makes those for viewing, adding, changing and deleting. The others are in the `Meta` of the models.
"""

VIEW_ORDER = "orderhooks.view_order"
ADD_FULFILLMENT = "orderhooks.add_fulfillment"
CHANGE_FULFILLMENT = "orderhooks.change_fulfillment"
ADD_PAYMENT = "orderhooks.add_payment"
ADD_REFUND = "orderhooks.add_refund"
VIEW_EVENT = "orderhooks.view_event"
VIEW_DELIVERY = "orderhooks.view_delivery"
VIEW_REPLAY = "orderhooks.view_replay"
VIEW_BACKFILL = "orderhooks.view_backfill"
VIEW_ERASURE = "orderhooks.view_erasure"
# Erase the personal data of orders, for good.
ERASE_PERSONAL_DATA = "orderhooks.erase_personal_data"
VIEW_SUBSCRIPTION = "orderhooks.view_subscription"
ADD_SUBSCRIPTION = "orderhooks.add_subscription"
CHANGE_SUBSCRIPTION = "orderhooks.change_subscription"
# Payloads, errors of events, headers and bodies of requests and responses: they hold personal data.
VIEW_PAYLOAD = "orderhooks.view_payload"
# Send again: a delivery, many of them, an event that could not be published.
REDELIVER_DELIVERY = "orderhooks.redeliver_delivery"
REVEAL_SECRET = "orderhooks.reveal_secret"  # noqa: S105 - a name, no secret
# In the API: subscriptions of other owners, and what belongs to them.
MANAGE_ALL_SUBSCRIPTIONS = "orderhooks.manage_all_subscriptions"
