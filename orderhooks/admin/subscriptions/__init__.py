"""Subscriptions: which topics an endpoint gets, how it is doing, what to do about it, and its secrets, shown once.

`admin` is the list and the page, `forms` is what is typed into them. The others are what the page's buttons and links
lead to: `actions` (test, pause, resume), `secrets` (rotate, revoke, reveal), `pages` (preview, code for receivers,
topics), `versions` (what another version of the body changes, and the move). `banners` says how an endpoint is doing.
"""

from orderhooks.admin.subscriptions.admin import SubscriptionAdmin

__all__ = ["SubscriptionAdmin"]
