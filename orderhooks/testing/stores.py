"""For the tests of stores: the events that orders make, and deliveries sent at once."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections
from django.db.models import Max
from django.test import override_settings
from django.utils import timezone

from orderhooks import conf, matching, outbox, pumping
from orderhooks.models import Attempt, Event, Subscription

__all__ = ["Captured", "acapture", "capture", "deliver_now"]

DELIVER_SECONDS = 60.0
# In tests receivers are on this machine, beside the networks that the settings allow.
THIS_MACHINE = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True, slots=True)
class Captured:
    """The events of orders since `capture` began.

    Each access publishes what the running transaction has changed so far. So two saves become one net change only if
    nothing is read in between.

    `for` takes the events, and `async for` too. In `async def`, each of the others has a form that begins with `a`.
    """

    after: int
    using: str

    @property
    def events(self) -> list[Event]:
        """Oldest first; each has `topic`, `order_number`, `payload` and `changes`. Raises AssertionError, which fails
        the test, if one has no payload and so would not be sent.
        """
        _coalesce(self.using)
        events = list(Event.objects.using(self.using).filter(sequence__gt=self.after).order_by("sequence"))
        for event in events:
            if event.published_at is None:
                raise AssertionError(
                    f"{event} would not be sent, because it has no payload: {event.error}. Fix the order source."
                )
        return events

    @property
    def topics(self) -> list[str]:
        return [event.topic for event in self.events]

    def sent_to(self, subscription: Subscription) -> list[Event]:
        """Those of the events that the subscription gets."""
        matcher = matching.Matcher()
        return [event for event in self.events if matcher.judge(event, subscription).is_wanted]

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    async def aevents(self) -> list[Event]:
        """`events`, in `async def`."""
        return await sync_to_async(lambda: self.events)()

    async def atopics(self) -> list[str]:
        """`topics`, in `async def`."""
        return [event.topic for event in await self.aevents()]

    async def asent_to(self, subscription: Subscription) -> list[Event]:
        """`sent_to`, in `async def`."""
        return await sync_to_async(self.sent_to)(subscription)

    async def __aiter__(self) -> AsyncIterator[Event]:
        for event in await self.aevents():
            yield event


@contextmanager
def capture(using: str = "default") -> Iterator[Captured]:
    """Collect the events that orders make meanwhile, inside a test's transaction too, even without a subscription."""
    captured, listener = _begin(using)
    try:
        yield captured
    finally:
        _end(listener, using)


@asynccontextmanager
async def acapture(using: str = "default") -> AsyncIterator[Captured]:
    """`capture` in `async def`: `async with acapture() as events`. Read the events by `aevents()`, `atopics()`,
    `asent_to(…)`, or `async for`.
    """
    captured, listener = await sync_to_async(_begin)(using)
    try:
        yield captured
    finally:
        await sync_to_async(_end)(listener, using)


def _coalesce(using: str) -> None:
    """Make the events of what the running transaction has changed, and of what other ones have left to a worker."""
    outbox.coalesce_now(using)
    while conf.current().coalesce_in_worker and outbox.is_anything_left_behind(now=timezone.now()):
        outbox.coalesce_left_behind(now=timezone.now())


def _begin(using: str) -> tuple[Captured, Subscription]:
    _coalesce(using)  # what has changed before
    last = Event.objects.using(using).aggregate(last=Max("sequence"))["last"] or 0
    # Without a subscription nothing is captured. This one is paused, so it gets nothing.
    listener = Subscription(name="capture", url="https://capture.invalid/", topics=["*"], state="paused")
    listener.save(using=using)
    return Captured(last, using), listener


def _end(listener: Subscription, using: str) -> None:
    # A transaction that an error has spoilt is rolled back anyway, and the error is what the test should show.
    if not connections[using].needs_rollback:
        listener.delete()


def deliver_now(*, seconds: float = DELIVER_SECONDS) -> list[Attempt]:
    """Send what is due by the real engine, in this process, and return the attempts that were made, oldest first.

    Receivers on this machine are allowed, by http too. Retries that are not due stay where they are. Inside a test's
    transaction, the changes of its orders are published first.
    """
    outbox.coalesce_now(Event.objects.db)
    last = Attempt.objects.aggregate(last=Max("pk"))["last"] or 0
    turn = pumping.Turn(other_work=_no, notices_due=_no)
    networks = [*conf.current().allowed_networks, *THIS_MACHINE]
    # Nobody waits for more to come.
    here = {"REQUIRE_HTTPS": False, "ALLOWED_NETWORKS": networks, "LINGER_SECONDS": 0}
    with override_settings(ORDERHOOKS={**conf.raw(), **here}):
        turn.run(until=time.monotonic() + seconds)
    return list(Attempt.objects.filter(pk__gt=last).select_related("delivery").order_by("pk"))


def _no(*_arguments: Any) -> bool:
    return False
