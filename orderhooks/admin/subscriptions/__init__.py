"""Subscriptions: who hears what, how it has been going, what to do about it, and the secrets, which are shown once.

`records` is the list and the page, `forms` what is typed into them. The others are what the page's buttons and links
lead to: `traffic` (test, pause, resume), `secrets` (rotate, revoke, reveal), `reading` (preview, code for receivers,
topics). `banners` says in words how an endpoint is doing.
"""

from orderhooks.admin.subscriptions.records import SubscriptionAdmin

__all__ = ["SubscriptionAdmin"]
