"""The page of a subscription for users who may only view it: the fields of the form as values that can be read."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib import admin
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from orderhooks.admin.subscriptions.forms import choices_of_formats
from orderhooks.admin.subscriptions.login_forms import LOGIN_FIELDS, TYPES
from orderhooks.db.sealed_logins import BASIC, NONE, OAUTH2
from orderhooks.encryption import HIDDEN
from orderhooks.models import Subscription

# Which column shows a field whose value is made for programs.
SHOWN_AS: Mapping[str, str] = {
    "store": "store_text",
    "topics": "topics_text",
    "changed_fields": "changed_fields_text",
    "format": "format_text",
    "headers": "headers_text",
    "authentication": "login_text",
}
# Of the form alone. The field `certificate` shows whose client certificate it is, and until when.
TYPED_ONLY = frozenset(LOGIN_FIELDS) - SHOWN_AS.keys()


def for_readers(names: Iterable[Any]) -> list[Any]:
    """The fields that a reader's page has in place of those of the form."""
    return [SHOWN_AS.get(name, name) for name in names if name not in TYPED_ONLY]


class ReadersAdmin(admin.ModelAdmin):
    """A mixin of the subscriptions' admin. Its labels are those of the form."""

    @admin.display(description=_("store"))
    def store_text(self, subscription: Subscription) -> str:
        return subscription.store or gettext("all stores")

    @admin.display(description=_("topics"))
    def topics_text(self, subscription: Subscription) -> str:
        return _joined(subscription.topics)

    @admin.display(description=_("changed fields"), empty_value="-")
    def changed_fields_text(self, subscription: Subscription) -> str:
        return _joined(subscription.changed_fields)

    @admin.display(description=_("format"))
    def format_text(self, subscription: Subscription) -> str:
        return str(dict(choices_of_formats(subscription.format))[subscription.format])

    @admin.display(description=_("headers"), empty_value="-")
    def headers_text(self, subscription: Subscription) -> SafeString | str:
        return format_html_join(SafeString("<br>"), "{}: {}", ((name, HIDDEN) for name in subscription.headers))

    @admin.display(description=_("authentication"))
    def login_text(self, subscription: Subscription) -> str:
        """How it logs in, without what is secret."""
        known = subscription.authentication
        if subscription.login_type == BASIC:
            return gettext("HTTP Basic as %(user)s, password hidden") % {"user": known["username"]}
        if subscription.login_type != OAUTH2:
            return str(TYPES[NONE])
        text = gettext("OAuth2 as %(client)s, secret hidden; tokens come from %(url)s") % {
            "client": known["client_id"],
            "url": known["token_url"],
        }
        wanted = (("scope", gettext("scope")), ("audience", gettext("audience")), ("resource", gettext("resource")))
        return "; ".join([text, *(f"{label}: {known[name]}" for name, label in wanted if known.get(name))])


def _joined(patterns: Iterable[object]) -> str:
    return ", ".join(map(str, patterns))
