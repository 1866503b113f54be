"""Nothing is acted on twice, and nothing that failed is lost."""

import threading
from collections.abc import Callable, Iterator

import pytest
from django.core.cache import caches
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.http import HttpRequest, HttpResponse

from orderhooks.models import Receipt
from orderhooks.receiver import (
    CacheDeduplicator,
    DatabaseDeduplicator,
    Deduplicator,
    ReceivedEvent,
    deduplication,
    webhook,
)
from tests.signed_webhooks import OTHER, SECRET, Handler, request_of

MakeDeduplicator = Callable[[str], Deduplicator]


@pytest.fixture(params=["cache", "database"])
def deduplicator(request: pytest.FixtureRequest, db: None, settings) -> Iterator[MakeDeduplicator]:
    """Each of the two guards, as a function of its name."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "receipts"}}
    yield CacheDeduplicator if request.param == "cache" else DatabaseDeduplicator
    caches["default"].clear()


def test_a_webhook_that_was_acted_on_gets_200_and_is_not_acted_on_again(deduplicator: MakeDeduplicator) -> None:
    handler = Handler()
    endpoint = webhook(SECRET, deduplicate=deduplicator("shop"))(handler)

    statuses = [endpoint(request_of()).status_code for _ in range(3)]

    assert statuses == [204, 200, 200]
    assert len(handler.events) == 1


def test_another_webhook_is_no_duplicate(deduplicator: MakeDeduplicator) -> None:
    handler = Handler()
    endpoint = webhook(SECRET, deduplicate=deduplicator("shop"))(handler)

    for webhook_id in ("evt_1", "evt_2"):
        assert endpoint(request_of(webhook_id=webhook_id)).status_code == 204

    assert [event.id for event in handler.events] == ["evt_1", "evt_2"]


def test_receivers_of_different_names_share_a_store(deduplicator: MakeDeduplicator) -> None:
    for name in ("stock", "mail"):
        assert webhook(SECRET, deduplicate=deduplicator(name))(Handler())(request_of()).status_code == 204


@pytest.mark.parametrize("status", [199, 302, 400, 404, 500, 503])
def test_a_webhook_whose_view_responded_outside_2xx_is_acted_on_again(
    deduplicator: MakeDeduplicator, status: int
) -> None:
    handler = Handler(HttpResponse(status=status))
    endpoint = webhook(SECRET, deduplicate=deduplicator("shop"))(handler)

    assert [endpoint(request_of()).status_code for _ in range(3)] == [status, 204, 200]
    assert len(handler.events) == 2


def test_a_webhook_whose_view_raised_is_acted_on_again(deduplicator: MakeDeduplicator) -> None:
    handler = Handler(RuntimeError("no"))
    endpoint = webhook(SECRET, deduplicate=deduplicator("shop"))(handler)

    with pytest.raises(RuntimeError, match="no"):
        endpoint(request_of())

    assert [endpoint(request_of()).status_code for _ in range(2)] == [204, 200]
    assert len(handler.events) == 2


def test_a_forged_request_uses_up_no_id(deduplicator: MakeDeduplicator) -> None:
    endpoint = webhook(SECRET, deduplicate=deduplicator("shop"))(Handler())

    assert endpoint(request_of(secrets=[OTHER])).status_code == 401
    assert endpoint(request_of()).status_code == 204


def test_the_longest_id_fits(deduplicator: MakeDeduplicator) -> None:
    endpoint = webhook(SECRET, deduplicate=deduplicator("x" * 100))(Handler())

    statuses = [endpoint(request_of(webhook_id="i" * length)).status_code for length in (200, 200, 201)]

    assert statuses == [204, 200, 401]


@pytest.mark.django_db
@pytest.mark.parametrize("response", [HttpResponse(status=503), RuntimeError("no")])
def test_what_a_failed_view_wrote_is_rolled_back_with_the_receipt(response: HttpResponse | Exception) -> None:
    @webhook(SECRET, deduplicate=DatabaseDeduplicator("shop"))
    def view(request: HttpRequest, event: ReceivedEvent) -> HttpResponse:
        Receipt.objects.create(receiver="written by the view", webhook_id=event.id)
        if isinstance(response, Exception):
            raise response
        return response

    if isinstance(response, Exception):
        with pytest.raises(RuntimeError):
            view(request_of())
    else:
        assert view(request_of()).status_code == 503

    assert Receipt.objects.count() == 0


@pytest.mark.django_db
def test_what_a_view_wrote_is_committed_with_the_receipt() -> None:
    @webhook(SECRET, deduplicate=DatabaseDeduplicator("shop"))
    def view(request: HttpRequest, event: ReceivedEvent) -> None:
        Receipt.objects.create(receiver="written by the view", webhook_id=event.id)

    assert view(request_of()).status_code == 204
    assert sorted(Receipt.objects.values_list("receiver", flat=True)) == ["shop", "written by the view"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("savepoint", [True, False])
def test_a_view_that_swallows_a_database_error_is_never_acknowledged_with_nothing_saved(savepoint: bool) -> None:
    @webhook(SECRET, deduplicate=DatabaseDeduplicator("shop"))
    def view(request: HttpRequest, event: ReceivedEvent) -> None:
        try:
            with transaction.atomic(savepoint=savepoint):
                Receipt.objects.create(receiver="shop", webhook_id=event.id)
        except IntegrityError:
            pass

    if savepoint:
        assert view(request_of()).status_code == 204
    else:
        with pytest.raises((transaction.TransactionManagementError, DatabaseError)):
            view(request_of())
    assert Receipt.objects.count() == savepoint


@pytest.mark.django_db
def test_an_integrity_error_of_the_view_is_not_taken_for_a_duplicate() -> None:
    @webhook(SECRET, deduplicate=DatabaseDeduplicator("shop"))
    def view(request: HttpRequest, event: ReceivedEvent) -> None:
        Receipt.objects.create(receiver="shop", webhook_id=event.id)

    with pytest.raises(IntegrityError):
        view(request_of())


def in_threads(count: int, work: Callable[[], int]) -> list[int]:
    results = []

    def run() -> None:
        try:
            results.append(work())
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


@pytest.mark.django_db(transaction=True)
def test_of_requests_at_the_same_time_one_is_acted_on(deduplicator: MakeDeduplicator) -> None:
    if deduplicator is DatabaseDeduplicator and connection.vendor == "sqlite":
        pytest.skip("SQLite in memory turns a second writer away at once")
    handler = Handler()
    together = threading.Barrier(6, timeout=20)
    endpoint = webhook(SECRET, deduplicate=deduplicator("shop"))(handler)

    def post() -> int:
        together.wait()
        return endpoint(request_of()).status_code

    statuses = in_threads(6, post)

    assert len(handler.events) == 1
    assert statuses.count(204) == 1
    assert set(statuses) <= {204, 200, 409}


@pytest.mark.django_db(transaction=True)
def test_a_duplicate_of_one_that_is_being_processed_gets_409(settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "twins"}}
    twins: list[list[int]] = []

    @webhook(SECRET, deduplicate=CacheDeduplicator("twins"))
    def view(request: HttpRequest, event: ReceivedEvent) -> None:
        twins.append(in_threads(1, lambda: view(request_of()).status_code))

    assert view(request_of()).status_code == 204
    assert twins == [[409]]
    assert view(request_of()).status_code == 200
    caches["default"].clear()


def test_a_process_that_died_at_work_blocks_only_for_a_while(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "died"}}
    # A mark that is stale at once stands for one whose time has run out.
    monkeypatch.setattr(deduplication, "PROCESSING_SECONDS", 0)
    inner: list[int | None] = []

    @webhook(SECRET, deduplicate=CacheDeduplicator("died"))
    def view(request: HttpRequest, event: ReceivedEvent) -> None:
        if not inner:
            inner.append(None)
            inner[0] = view(request_of()).status_code

    assert view(request_of()).status_code == 204
    assert inner == [204]
    caches["default"].clear()


def test_a_view_that_outlived_its_mark_takes_no_others_mark_away(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "outlived"}}
    monkeypatch.setattr(deduplication, "PROCESSING_SECONDS", 0)
    calls = []

    @webhook(SECRET, deduplicate=CacheDeduplicator("outlived"))
    def view(request: HttpRequest, event: ReceivedEvent) -> HttpResponse | None:
        calls.append(event)
        if len(calls) == 1:
            assert view(request_of()).status_code == 204
            return HttpResponse(status=503)
        return None

    assert view(request_of()).status_code == 503
    assert view(request_of()).status_code == 200
    assert len(calls) == 2
    caches["default"].clear()


@pytest.mark.django_db
def test_a_receiver_that_remembers_in_a_cache_touches_no_table(settings, django_assert_num_queries) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "queries"}}
    endpoint = webhook(SECRET, deduplicate=CacheDeduplicator("queries"))(Handler())
    with django_assert_num_queries(0):
        endpoint(request_of())
    caches["default"].clear()
