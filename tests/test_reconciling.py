"""Reconciling: each order is compared with what was last published of it, and the difference is published."""

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from orderhooks import digests, payloads, publishing, reconciling, retention, signal_handlers
from orderhooks.models import Change, Event, Order, OrderDigest, OrderLine, Reconciliation
from orderhooks.outbox import reading
from orderhooks.outbox.reading import read_order
from orderhooks.reconciling import Difference, Kind
from orderhooks.sources import BuiltInOrders, OrderSource
from tests.factories import cutoffs_at, make_order, make_subscription
from tests.publications import payload_of, published
from tests.shapes.models import TextOrder

pytestmark = pytest.mark.django_db(transaction=True)

DAY = datetime.timedelta(days=1)


@pytest.fixture(autouse=True)
def _subscription() -> None:
    make_subscription()


def differences(since: datetime.datetime | None = None) -> list[Difference]:
    """What a whole reconciliation finds."""
    reconciliation = reconciling.begin(since=since)
    found = []
    while reconciliation.state == Reconciliation.State.RUNNING:
        found += reconciling.advance(reconciliation, now=timezone.now())
    assert reconciliation.differing == len(found)
    return found


def kinds() -> dict[str, Kind]:
    return {one.number: one.kind for one in differences()}


def publish_all() -> int:
    return publishing.publish_differences(differences())


def behind_the_back(sql: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def settle() -> None:
    """Make the events old enough to become digests."""
    published_events = Event.objects.filter(published_at__isnull=False)
    published_events.update(published_at=timezone.now() - datetime.timedelta(minutes=1))
    assert digests.catch_up(now=timezone.now(), seconds=10)


def prune_all_events() -> None:
    long_ago = timezone.now() - 100 * DAY
    Event.objects.update(published_at=long_ago, routed_at=long_ago + DAY, occurred_at=long_ago)
    while retention.prune(before=cutoffs_at(timezone.now() - 90 * DAY)):
        pass
    assert not Event.objects.exists()


@pytest.mark.parametrize("after", [lambda: None, settle, prune_all_events], ids=["at once", "settled", "pruned"])
def test_orders_whose_changes_were_all_captured_do_not_differ(after: Any) -> None:
    first, second = make_order(), make_order(metadata={"weight": 1.5e-7, "code": 2**60, "ß": ["\u2028"]})
    first.status = "closed"
    first.save()
    first.save()  # a new updated_at, and no event
    second.lines.create(sku="B", name="B", quantity=1, unit_price="1.00")
    make_order().delete()
    after()
    assert differences() == []


def test_what_was_written_in_sql_is_found_and_published_with_its_difference() -> None:
    _changed, lines, _same = make_order(number="1"), make_order(number="2"), make_order(number="3")
    behind_the_back("UPDATE orderhooks_order SET status = 'cancelled', note = 'ß' WHERE number = '1'")
    behind_the_back("UPDATE orderhooks_orderline SET quantity = 7 WHERE order_id = %s", lines.pk)
    assert kinds() == {"1": Kind.CHANGED, "2": Kind.CHANGED}
    before = Event.objects.count()
    assert publish_all() == 2
    first, second = Event.objects.order_by("sequence")[before:]
    assert (first.topic, first.changes) == ("order.updated", {"status": ["open", "cancelled"], "note": ["", "ß"]})
    assert payload_of(first)["order"]["status"] == "cancelled"
    assert payload_of(first)["changes"] == first.changes
    [line] = lines.lines.all()
    [[old], [new]] = second.changes["lines"]
    assert (old["id"], old["quantity"], new["id"], new["quantity"]) == (line.pk, 2, line.pk, 7)
    assert differences() == []


def test_an_order_without_an_event_is_published_as_updated() -> None:
    Order.objects.bulk_create([Order(number="tracked")])
    behind_the_back("UPDATE orderhooks_order SET number = 'moved' WHERE number = 'tracked'")
    Event.objects.all().delete()
    assert kinds() == {"moved": Kind.UNKNOWN}
    publish_all()
    event = Event.objects.get()
    assert (event.topic, event.order_number, event.changes) == ("order.updated", "moved", {})
    assert differences() == []


def test_orders_older_than_the_first_subscription_are_only_counted() -> None:
    make_order(placed_at=timezone.now() - 40 * DAY)
    Event.objects.all().delete()
    reconciliation = reconciling.begin(since=None)
    while reconciliation.state == Reconciliation.State.RUNNING:
        assert reconciling.advance(reconciliation, now=timezone.now()) == []
    assert (reconciliation.compared, reconciliation.older, reconciliation.differing) == (1, 1, 0)


def test_a_deletion_that_nobody_captured_is_published_with_the_last_content() -> None:
    order = make_order(number="7", store="b", note="last")
    settle()
    OrderLine.objects.filter(order=order).delete()
    Change.objects.all().delete()
    Event.objects.filter(topic="order.updated").delete()
    behind_the_back("DELETE FROM orderhooks_order WHERE number = '7'")
    assert differences() == [Difference(Kind.DELETED, "orderhooks", str(order.pk), "7", "b")]
    publish_all()
    event = Event.objects.latest("sequence")
    assert (event.topic, event.order_number, event.store) == ("order.deleted", "7", "b")
    assert payload_of(event)["order"]["note"] == "last"
    assert differences() == []
    settle()
    assert differences() == []


def test_a_deletion_whose_events_are_pruned_makes_no_event_and_shows_in_the_digests() -> None:
    order = make_order(lines=())
    prune_all_events()
    behind_the_back("DELETE FROM orderhooks_order WHERE id = %s", order.pk)
    [found] = differences()
    assert (found.kind, found.number) == (Kind.DELETED, order.number)
    assert publishing.publish_differences([found]) == 1
    assert not Event.objects.exists()
    assert OrderDigest.objects.get().digest == ""
    assert differences() == []


def test_an_order_that_changed_after_its_events_were_pruned_is_published() -> None:
    make_order(number="1")
    prune_all_events()
    behind_the_back("UPDATE orderhooks_order SET note = 'new'")
    assert publish_all() == 1
    event = Event.objects.get()
    assert (event.topic, event.changes) == ("order.updated", {})
    assert payload_of(event)["order"]["note"] == "new"
    assert differences() == []


def test_an_event_for_one_subscription_alone_does_not_count_as_published() -> None:
    make_order(number="1")
    behind_the_back("UPDATE orderhooks_order SET note = 'new'")
    publishing.publish_to(make_subscription(), "order.updated", "1")
    assert kinds() == {"1": Kind.CHANGED}
    settle()
    assert kinds() == {"1": Kind.CHANGED}


@pytest.mark.by_hand
def test_what_is_about_to_be_published_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    order = make_order()
    monkeypatch.setattr("orderhooks.outbox.transaction_batch.TransactionBatch.coalesce", lambda self: [])
    order.note = "captured"
    order.save()
    assert Change.objects.exists()
    assert differences() == []


@pytest.mark.parametrize(("behind_again", "expected"), [(False, []), (True, [Kind.CHANGED])])
def test_an_order_that_changes_while_it_is_compared_is_compared_again(
    monkeypatch: pytest.MonkeyPatch, behind_again: bool, expected: list[Kind]
) -> None:
    make_order(number="1")
    behind_the_back("UPDATE orderhooks_order SET note = 'behind'")
    reads: list[str] = []

    def read_and_save(source_name: str, order_pk: str, **options: Any) -> Any:
        found = read_order(source_name, order_pk, **options)
        reads.append(order_pk)
        # The first reading is of the whole batch.
        if len(reads) == 2:
            again = Order.objects.get()
            again.note = "saved"
            again.save()
            if behind_again:
                behind_the_back("UPDATE orderhooks_order SET note = 'behind again'")
        return found

    monkeypatch.setattr(reading, "read_order", read_and_save)
    assert [one.kind for one in differences()] == expected
    assert len(reads) == 3


def test_a_difference_that_was_published_meanwhile_makes_no_event() -> None:
    order = make_order()
    behind_the_back("UPDATE orderhooks_order SET note = 'behind'")
    found = differences()
    order.refresh_from_db()
    order.status = "closed"
    order.save()
    before = published()
    publishing.publish_differences(found)
    assert published() == before


class Unreadable(BuiltInOrders):
    def payload(self, order: Any) -> dict[str, Any]:
        if order.note == "bad":
            raise ValueError("no such rate")
        return super().payload(order)


def test_an_order_that_can_not_be_read_is_named_and_the_others_are_compared(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.test_reconciling.Unreadable"]}
    for number in "123":
        make_order(number=number)
    behind_the_back("UPDATE orderhooks_order SET note = 'bad' WHERE number = '1'")
    behind_the_back("UPDATE orderhooks_order SET note = 'new' WHERE number = '3'")
    found = differences()
    assert [(one.kind, one.error) for one in found] == [
        (Kind.UNREADABLE, "ValueError: no such rate"),
        (Kind.CHANGED, ""),
    ]
    assert publishing.publish_differences(found) == 1


class TextOrders(OrderSource):
    """Undated, with a method of its own that reads an order."""

    name = "texts"
    model = "shapes.TextOrder"
    watched = ("state",)

    def fetch(self, order_pk: str, *, using: str) -> Any:
        return TextOrder.objects.using(using).filter(pk=order_pk).first()


@pytest.fixture
def _two_sources(settings: Any) -> Iterator[None]:
    paths = ["orderhooks.sources.BuiltInOrders", "tests.test_reconciling.TextOrders"]
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": paths}
    signal_handlers.connect()
    yield
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": paths[:1]}
    signal_handlers.connect()


@pytest.mark.usefixtures("_two_sources")
def test_all_orders_of_all_sources_are_compared_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "AT_ONCE", 2)
    for number in range(5):
        make_order(number=str(number), placed_at=timezone.now() - DAY * number)
        TextOrder.objects.create(code=f"{number}/ß")
    settle()
    behind_the_back("UPDATE orderhooks_order SET note = 'behind'")
    behind_the_back("UPDATE shapes_textorder SET state = 'behind'")
    behind_the_back("DELETE FROM shapes_textorder WHERE code = '4/ß'")
    assert len(differences()) == 10
    assert kinds()["4/ß"] == Kind.DELETED
    # Those of the second source have no date.
    since = timezone.now() - DAY * 2.5
    assert sorted(one.number for one in differences(since)) == ["0", "0/ß", "1", "1/ß", "2", "2/ß", "3/ß", "4/ß"]


@pytest.mark.usefixtures("_two_sources")
def test_a_source_that_is_removed_meanwhile_ends_its_part(settings: Any) -> None:
    make_order()
    reconciliation = reconciling.begin(since=None)
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": []}
    reconciling.advance(reconciliation, now=timezone.now())
    assert reconciliation.state == Reconciliation.State.DONE


def test_a_batch_that_two_processes_compare_counts_once() -> None:
    make_order()
    mine = reconciling.begin(since=None)
    theirs = Reconciliation.objects.get()
    behind_the_back("UPDATE orderhooks_order SET note = 'behind'")
    assert len(reconciling.advance(theirs, now=timezone.now())) == 1
    assert reconciling.advance(mine, now=timezone.now()) == []
    assert (mine.compared, mine.changed) == (1, 1)


def test_digests_keep_the_newest_event_of_each_order_and_deletions_for_the_time_of_retention() -> None:
    first, second = make_order(lines=()), make_order(lines=())
    first.status = "closed"
    first.save()
    second.delete()
    settle()
    rows = {row.order_number: row for row in OrderDigest.objects.all()}
    assert rows[first.number].sequence == Event.objects.filter(order_number=first.number).latest("sequence").sequence
    assert len(rows[first.number].digest) == 64
    assert rows[second.number].digest == ""
    prune_all_events()
    assert set(OrderDigest.objects.values_list("order_number", flat=True)) == {first.number, second.number}
    OrderDigest.objects.update(published_at=timezone.now() - 91 * DAY)
    assert retention.prune(before=cutoffs_at(timezone.now() - 90 * DAY)) == 1
    assert [row.order_number for row in OrderDigest.objects.all()] == [first.number]


class LongNamed(BuiltInOrders):
    def number(self, order: Any) -> str:
        return "x" * 300 if order.note == "long" else super().number(order)

    def payload(self, order: Any) -> dict[str, Any]:
        if order.note == "broken":
            raise ValueError("no such rate")
        return super().payload(order)


def test_an_order_that_can_not_be_published_is_unreadable_with_its_number(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.test_reconciling.LongNamed"]}
    make_order(number="7", lines=())
    make_order(lines=())
    before = Event.objects.count()
    behind_the_back("UPDATE orderhooks_order SET note = 'broken' WHERE number = '7'")
    behind_the_back("UPDATE orderhooks_order SET note = 'long' WHERE number <> '7'")
    found = differences()
    assert [one.kind for one in found] == [Kind.UNREADABLE] * 2
    assert (found[0].number, found[0].error) == ("7", "ValueError: no such rate")
    assert "300 characters" in found[1].error
    assert publishing.publish_differences(found) == 0
    assert Event.objects.count() == before


def test_one_event_that_is_odd_does_not_keep_the_others_from_their_digests() -> None:
    make_order(lines=())
    other = make_order(lines=())
    # As an older version of a source could have published it.
    huge = {"order": {"id": "x", "n": 10**400}, "changes": {}}
    Event.objects.exclude(order_pk=str(other.pk)).update(payload=huge)
    settle()
    assert {row.order_pk for row in OrderDigest.objects.all()} == set(Event.objects.values_list("order_pk", flat=True))
    assert len(payloads.digest(huge["order"])) == 64


def test_an_event_that_is_published_late_has_its_digest(settings: Any) -> None:
    order = make_order(number="1", lines=())
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.test_reconciling.Unreadable"]}
    order.note = "bad"
    order.save()
    late = Event.objects.get(published_at=None)
    make_order(number="2", lines=())
    settle()
    assert OrderDigest.objects.reached() > late.sequence
    behind_the_back("UPDATE orderhooks_order SET note = 'good' WHERE number = '1'")
    assert publishing.republish(late)
    settle()
    row = OrderDigest.objects.get(order_number="1")
    assert row.sequence == late.sequence
    assert row.digest == payloads.digest(payload_of(late)["order"], without=["updated_at"])
    assert differences() == []


def test_digests_are_brought_up_to_date_once_for_each_source(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        make_order(lines=())
    monkeypatch.setattr(reconciling, "AT_ONCE", 1)
    calls: list[float] = []
    catch_up = digests.catch_up

    def counted(*, now: datetime.datetime, seconds: float) -> bool:
        calls.append(seconds)
        return catch_up(now=now, seconds=seconds)

    monkeypatch.setattr(digests, "catch_up", counted)
    assert differences() == []
    assert len(calls) == 1


def test_no_event_is_pruned_before_its_digest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = make_order(lines=()), make_order(lines=())
    long_ago = timezone.now() - 100 * DAY
    Event.objects.update(published_at=long_ago, routed_at=long_ago, occurred_at=long_ago)
    monkeypatch.setattr(digests, "AT_ONCE", 1)
    monkeypatch.setattr(retention, "DIGEST_SECONDS", -1.0)
    assert retention.prune(before=cutoffs_at(timezone.now() - 90 * DAY)) == 1
    assert [row.order_number for row in OrderDigest.objects.all()] == [first.number]
    assert [event.order_number for event in Event.objects.all()] == [second.number]
