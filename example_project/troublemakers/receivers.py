"""A receiver that fails about half the time, to show retries.

The other troublemaker, the subscription `dead`, needs no code: nothing listens at its URL.
"""

import random

from django.http import HttpRequest, HttpResponse

from orderhooks.receiver import DatabaseDeduplicator, ReceivedEvent, webhook
from shop.receiver_secrets import secret_of


@webhook(secret=secret_of("flaky"), deduplicate=DatabaseDeduplicator("flaky"))
def flaky(request: HttpRequest, event: ReceivedEvent) -> HttpResponse:
    if random.random() < 0.5:
        return HttpResponse("Not now, please.", status=503, content_type="text/plain")
    return HttpResponse(status=204)
