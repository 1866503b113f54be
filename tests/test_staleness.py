"""The guard against events that are older than what was acted on."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.core.cache import caches
from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from orderhooks import catalogue, retention
from orderhooks.models import LatestSequence, Receipt
from orderhooks.receiver import (
    CacheDeduplicator,
    CacheSequenceGuard,
    DatabaseDeduplicator,
    DatabaseSequenceGuard,
    ReceivedEvent,
    UnknownOrderShapeError,
    staleness,
    webhook,
)
from tests.factories import cutoffs_at
from tests.signed_webhooks import SECRET, body_of, request_of
from tests.test_races import wait_until_somebody_waits_for_a_lock

Endpoint = Callable[[HttpRequest], HttpResponseBase]


class Copy:
    """A receiver's view that keeps the sequences that it acted on."""

    def __init__(self) -> None:
        self.acted_on: list[int] = []
        self.response: Callable[[], HttpResponse | None] = lambda: None

    def __call__(self, request: HttpRequest, event: ReceivedEvent) -> HttpResponse | None:
        self.acted_on.append(event.sequence)
        return self.response()


def post(
    endpoint: Endpoint, sequence: int, *, order: object = "ord_1", source: str = "orderhooks", webhook_id: str = ""
) -> HttpResponseBase:
    body = body_of(sequence=sequence, source=source, data={"order": {"id": order}, "changes": {}})
    return endpoint(request_of(body, webhook_id=webhook_id or f"evt_{sequence}"))


@pytest.fixture(params=[DatabaseSequenceGuard, CacheSequenceGuard])
def guard(request: Any, settings: Any, transactional_db: None) -> Any:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "sequences"}}
    yield request.param
    caches["default"].clear()


class TestSkippingStaleEvents:
    def test_an_older_event_of_the_order_is_passed_over(self, guard: Any) -> None:
        copy = Copy()
        endpoint = webhook(SECRET, skip_stale=guard("crm"))(copy)
        assert [post(endpoint, sequence).status_code for sequence in (5, 9, 7)] == [204, 204, 200]
        assert copy.acted_on == [5, 9]
        response = post(endpoint, 9)
        assert isinstance(response, HttpResponse)
        assert json.loads(response.content) == {
            "status": "This event, or a newer one of its order, was already acted on."
        }, "the same again is no newer"

    def test_other_orders_and_receivers_are_nothing_to_it(self, guard: Any) -> None:
        copy = Copy()
        endpoint, other = (webhook(SECRET, skip_stale=guard(name))(copy) for name in ("crm", "shelf"))
        post(endpoint, 9)
        assert post(endpoint, 7, order="ord_2").status_code == 204
        assert post(other, 7).status_code == 204

    @pytest.mark.parametrize("status", [400, 503])
    def test_one_that_was_not_taken_leaves_no_mark(self, guard: Any, status: int) -> None:
        copy = Copy()
        endpoint = webhook(SECRET, skip_stale=guard("crm"))(copy)
        copy.response = lambda: HttpResponse(status=status)
        assert post(endpoint, 9).status_code == status
        copy.response = lambda: None
        assert post(endpoint, 7).status_code == 204
        assert post(endpoint, 9).status_code == 204
        assert copy.acted_on == [9, 7, 9]

    def test_one_whose_view_raised_leaves_no_mark(self, guard: Any) -> None:
        copy = Copy()
        endpoint = webhook(SECRET, skip_stale=guard("crm"))(copy)

        def fail() -> None:
            raise RuntimeError("no")

        copy.response = fail
        with pytest.raises(RuntimeError):
            post(endpoint, 9)
        copy.response = lambda: None
        assert post(endpoint, 7).status_code == 204

    def test_orders_of_two_sources_may_have_the_same_id(self, guard: Any) -> None:
        copy = Copy()
        endpoint = webhook(SECRET, skip_stale=guard("crm"))(copy)
        assert post(endpoint, 9, order=17, source="shop").status_code == 204
        assert post(endpoint, 7, order=17, source="repairs").status_code == 204
        assert post(endpoint, 8, order=17, source="shop").status_code == 200
        assert copy.acted_on == [9, 7]

    def test_orders_of_another_shape_need_a_key(self, guard: Any) -> None:
        for order in (None, "", True, 1.5, ["ord_1"], "x" * 200):
            with pytest.raises(UnknownOrderShapeError, match="key="):
                post(webhook(SECRET, skip_stale=guard("crm"))(Copy()), 9, order=order)
        copy = Copy()
        endpoint = webhook(SECRET, skip_stale=guard("crm", key=lambda event: str(event.data["order"]["id"])))(copy)
        assert [post(endpoint, sequence, order=1.5).status_code for sequence in (9, 7)] == [204, 200]

    def test_it_works_together_with_deduplication(self, guard: Any) -> None:
        copy = Copy()
        deduplicator = {DatabaseSequenceGuard: DatabaseDeduplicator, CacheSequenceGuard: CacheDeduplicator}[guard](
            "crm"
        )
        endpoint = webhook(SECRET, deduplicate=deduplicator, skip_stale=guard("crm"))(copy)
        assert [post(endpoint, sequence).status_code for sequence in (9, 9, 7, 7)] == [204, 200, 200, 200]
        assert copy.acted_on == [9]

    @pytest.mark.parametrize("deduplicator", [DatabaseDeduplicator, CacheDeduplicator])
    def test_what_was_not_committed_is_acted_on_again(
        self, guard: Any, deduplicator: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if (guard, deduplicator) == (CacheSequenceGuard, CacheDeduplicator):
            pytest.skip("nothing is committed here")
        copy = Copy()
        endpoint = webhook(SECRET, deduplicate=deduplicator("crm"), skip_stale=guard("crm"))(copy)

        def lose_the_database() -> None:
            raise OperationalError("the database went away")

        with monkeypatch.context() as patch:
            copy.response = lambda: patch.setattr(connection, "_commit", lose_the_database)
            with pytest.raises(OperationalError):
                post(endpoint, 9)
        copy.response = lambda: None
        assert [post(endpoint, 9).status_code for _ in range(2)] == [204, 200]
        assert copy.acted_on == [9, 9]

    def test_a_test_of_the_endpoint_is_about_no_order(self, guard: Any) -> None:
        copy = Copy()
        endpoint = webhook(SECRET, skip_stale=guard("crm"))(copy)
        body = body_of(catalogue.TEST, sequence=3, data={"order": {}, "changes": {}})
        assert endpoint(request_of(body)).status_code == 204
        assert copy.acted_on == [3]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("savepoint", [True, False])
def test_a_view_that_swallows_a_database_error_is_never_acknowledged_with_nothing_saved(savepoint: bool) -> None:
    @webhook(SECRET, skip_stale=DatabaseSequenceGuard("crm"))
    def view(request: HttpRequest, event: ReceivedEvent) -> None:
        Receipt.objects.create(receiver="the view", webhook_id=event.id)
        try:
            with transaction.atomic(savepoint=savepoint):
                Receipt.objects.create(receiver="the view", webhook_id=event.id)
        except IntegrityError:
            pass

    if savepoint:
        assert post(view, 9).status_code == 204
    else:
        with pytest.raises((transaction.TransactionManagementError, DatabaseError)):
            post(view, 9)
    assert Receipt.objects.count() == LatestSequence.objects.count() == savepoint


def test_a_view_that_outlived_its_turn_does_not_take_the_order_back(settings: Any, monkeypatch: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "slow"}}
    # A turn that is over at once stands for one that lasted too long.
    monkeypatch.setattr(staleness, "PROCESSING_SECONDS", 0)
    acted_on = []

    @webhook(SECRET, skip_stale=CacheSequenceGuard("crm"))
    def view(request: HttpRequest, event: ReceivedEvent) -> None:
        acted_on.append(event.sequence)
        if event.sequence == 7:
            assert post(view, 9).status_code == 204

    assert [post(view, sequence).status_code for sequence in (7, 8)] == [204, 200]
    assert acted_on == [7, 9]
    caches["default"].clear()


def test_while_one_is_processed_another_of_the_order_gets_409(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "busy"}}
    statuses: list[int] = []

    @webhook(SECRET, skip_stale=CacheSequenceGuard("crm"))
    def view(request: HttpRequest, event: ReceivedEvent) -> None:
        if event.sequence == 9:
            statuses.append(post(view, 7).status_code)
            statuses.append(post(view, 7, order="ord_2").status_code)

    assert post(view, 9).status_code == 204
    assert statuses == [409, 204]
    assert post(view, 7).status_code == 200
    caches["default"].clear()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("newer_is_taken", [True, False])
def test_an_older_event_waits_for_the_newer_ones_transaction(
    in_a_thread: Callable[[Callable[[], None]], threading.Thread], is_known: bool, newer_is_taken: bool
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("this database lets one writer in at a time; the run on PostgreSQL has these tests")
    answers: dict[int, int] = {}
    copy, began, go_on = Copy(), threading.Event(), threading.Event()
    endpoint = webhook(SECRET, skip_stale=DatabaseSequenceGuard("crm"))(copy)
    if is_known:
        post(endpoint, 1)
    copy.acted_on.clear()

    def hold() -> HttpResponse:
        copy.response = lambda: None
        began.set()
        assert go_on.wait(20)
        return HttpResponse(status=204 if newer_is_taken else 503)

    def come(sequence: int) -> None:
        answers[sequence] = post(endpoint, sequence).status_code

    copy.response = hold
    newer = in_a_thread(lambda: come(9))
    assert began.wait(20)
    older = in_a_thread(lambda: come(7))
    wait_until_somebody_waits_for_a_lock()
    assert copy.acted_on == [9]
    go_on.set()
    newer.join(20)
    older.join(20)
    assert answers == ({9: 204, 7: 200} if newer_is_taken else {9: 503, 7: 204})
    assert copy.acted_on == ([9] if newer_is_taken else [9, 7])
    assert LatestSequence.objects.get().sequence == (9 if newer_is_taken else 7)


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_the_newest_stays(in_a_thread: Callable[[Callable[[], None]], threading.Thread]) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("this database lets one writer in at a time; the run on PostgreSQL has these tests")
    copy = Copy()
    together = threading.Barrier(6, timeout=20)
    endpoint = webhook(SECRET, skip_stale=DatabaseSequenceGuard("crm"))(copy)

    def come(sequence: int) -> None:
        together.wait()
        # As a sender does: what is refused for now comes again.
        answers = (post(endpoint, sequence).status_code for _ in range(50))
        assert next(response for response in answers if response != 409) in (200, 204)

    threads = [in_a_thread(partial(come, sequence)) for sequence in (3, 1, 6, 2, 5, 4)]
    for thread in threads:
        thread.join(20)
    assert LatestSequence.objects.get().sequence == 6
    assert 6 in copy.acted_on


@pytest.mark.django_db
def test_what_is_old_is_pruned() -> None:
    now = timezone.now()
    LatestSequence.objects.create(receiver="crm", order="ord_1", sequence=1, updated_at=now - timedelta(days=2))
    LatestSequence.objects.create(receiver="crm", order="ord_2", sequence=1, updated_at=now)
    assert retention.prune(before=cutoffs_at(now - timedelta(days=1))) == 1
    assert LatestSequence.objects.get().order == "ord_2"
