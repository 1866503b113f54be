"""Orders in a model of the store's own: here Django's users, because there is no shop."""

import datetime
import enum
import uuid
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from orderhooks import publishing, signal_handlers, sources
from orderhooks.models import Event
from orderhooks.sources import OrderSource
from tests.factories import make_subscription
from tests.publications import payload_of


class Users(OrderSource):
    name = "users"
    model = "auth.User"
    watched = ("username", "is_active", "last_login")

    def payload(self, order: User) -> dict[str, object]:
        return {"name": order.username}


@pytest.fixture
def of_users(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.test_sources.Users"]}
    signal_handlers.connect()
    make_subscription()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("of_users")
def test_a_model_of_the_stores_own_makes_events_in_autocommit_mode_and_in_transactions() -> None:
    user = User.objects.create(username="ada")
    user.first_name = "Ada"
    user.save()
    user.is_active = False
    user.save()
    with transaction.atomic():
        user.is_active = True
        user.save()
        user.username = "ada.l"
        user.save()
    user.delete()
    assert [(event.topic, event.changes) for event in Event.objects.order_by("sequence")] == [
        ("order.created", {}),
        ("order.updated", {"is_active": [True, False]}),
        ("order.updated", {"username": ["ada", "ada.l"], "is_active": [False, True]}),
        ("order.deleted", {}),
    ]
    assert {event.source for event in Event.objects.all()} == {"users"}
    last = Event.objects.latest("sequence")
    assert (last.order_number, last.store, payload_of(last)["order"]) == (last.order_pk, "", {"name": "ada.l"})


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("of_users")
def test_the_built_in_order_makes_no_event_when_its_source_is_not_configured() -> None:
    from orderhooks.models import Order

    order = Order.objects.create()
    assert not Event.objects.exists()
    with pytest.raises(TypeError, match="SOURCES"):
        publishing.publish("order.paid", order)


class Colour(enum.Enum):
    RED = "r"


class Weight(enum.Enum):
    HEAVY = Decimal("7.50")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        ("x", "x"),
        ({"a": [1]}, {"a": [1]}),
        (Decimal("1.50"), "1.50"),
        (float("nan"), "nan"),
        (datetime.datetime(2026, 11, 23, 11, tzinfo=ZoneInfo("Europe/Berlin")), "2026-11-23T10:00:00.000000Z"),
        (datetime.datetime(2026, 11, 23, 10), "2026-11-23T10:00:00.000000Z"),
        (datetime.date(2026, 11, 23), "2026-11-23"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "r"),
        (Weight.HEAVY, "7.50"),
    ],
)
def test_values_become_json(value: object, expected: object) -> None:
    assert sources.as_json(value) == expected


def test_models_that_nobody_watches_keep_djangos_fast_deletion() -> None:
    assert User not in sources.saved_models()
    assert Event not in sources.saved_models()


def test_a_wrong_source_is_reported_by_a_check_and_watches_nothing(settings, caplog) -> None:
    settings.ORDERHOOKS = {"SOURCES": ["nowhere.Orders"]}
    assert sources.saved_models() == []
    assert "SOURCES is wrong" in caplog.text
