"""Topics that no source of the project can make are not offered, but stay valid: the store may publish them itself."""

import re
from typing import Any

import pytest

from orderhooks import catalogue, operational, publishing, signal_handlers, topics
from orderhooks.models import Event, Subscription
from orderhooks.sources import BuiltInOrders, Related
from tests.admin.test_subscriptions import boxes, subscription_form
from tests.admin.visits import client_of, page
from tests.api.calls import EVERYTHING, client_with, post
from tests.factories import make_delivery, make_event, make_subscription, make_user
from tests.shapes.models import Purchase
from tests.test_field_payload import Watched

pytestmark = pytest.mark.django_db
ALWAYS = ["order.created", "order.updated", "order.deleted", "order.redacted", "webhook.test"]


class Paying(Watched):
    """Makes topics in each way that there is."""

    related: tuple[Related, ...] = (
        Related("payments", "shapes.Payment", "order", ("amount",), topics={"created": "order.authorized"}),
    )
    computed_topics = ("order.closed",)


class Bringing(Watched):
    topics = {"order.gift_wrapped": "It was wrapped as a gift.", "order.paid": "The till says so."}


class Computing(Watched):
    """Its topics are not known from its attributes."""

    def own_topics(self) -> list[str]:
        return ["order.returned"]


class Unsure(Watched):
    def own_topics(self) -> list[str]:
        raise RuntimeError("not now")


@pytest.fixture
def use(settings: Any) -> Any:
    def configure(*names: str, own: dict[str, str] | None = None) -> None:
        paths = [name if "." in name else f"{__name__}.{name}" for name in names]
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": paths, "TOPICS": own or {}}
        signal_handlers.connect()

    return configure


@pytest.fixture
def operator() -> Any:
    return client_of(make_user(is_staff=True, is_superuser=True))


def offered() -> set[str]:
    return {topic.name for topic in catalogue.offered()}


def test_a_source_offers_what_it_makes(use: Any) -> None:
    use("Paying")
    assert offered() == {*ALWAYS, "order.paid", "order.authorized", "order.closed"}
    use("Computing")
    assert offered() == {*ALWAYS, "order.returned"}
    use("Paying", "orderhooks.sources.BuiltInOrders")
    assert offered() == {*ALWAYS, *BuiltInOrders().own_topics()}
    use()
    assert offered() == set(ALWAYS)


def test_own_topics_are_offered_and_may_be_built_in_ones_that_the_store_publishes(use: Any) -> None:
    use("Computing", own={"gift.wrapped": "It was wrapped.", "order.voided": "The reservation has ended."})
    assert offered() == {*ALWAYS, "order.returned", "gift.wrapped", "order.voided"}
    assert [topic.name for topic in catalogue.offered()] == [name for name in topics.catalogue() if name in offered()]


@pytest.mark.parametrize("source", ["Unsure", "nowhere.Orders"])
def test_all_are_offered_where_the_sources_do_not_list_them(use: Any, caplog: Any, source: str) -> None:
    use(source)
    assert offered() == set(topics.catalogue())
    assert "SOURCES is wrong" in caplog.text


def test_the_admin_has_boxes_for_what_is_offered_and_keeps_other_topics(use: Any, operator: Any) -> None:
    use("Paying", own={"gift.wrapped": "It was wrapped."})
    shown = boxes(page(operator, "subscription/add/"))
    families = {"webhook.*", "webhook.subscription.*", "worker.*", "source.*", *operational.TOPICS}
    assert set(shown) - families == {"*", "order.*", "gift.*", *offered()} - {"webhook.test"}
    assert "order.voided" not in page(operator, "subscription/topics/")
    form = subscription_form(topics=["order.paid"], topics_others="order.voided")
    operator.post("/admin/orderhooks/subscription/add/", form)
    subscription = Subscription.objects.get()
    assert subscription.topics == ["order.paid", "order.voided"]
    assert 'name="topics_others" value="order.voided"' in page(operator, f"subscription/{subscription.pk}/change/")


def chosen_from(text: str, tag: str) -> set[str]:
    """The topics in the values of these tags."""
    return set(re.findall(rf'<{tag}[^>]* value="(order\.[a-z_]+)"', text))


def test_the_admins_forms_offer_what_can_be_made(use: Any, operator: Any) -> None:
    use("Paying")
    made = offered() - {"webhook.test"}
    of_existing = made - {"order.deleted", "order.redacted"}
    assert chosen_from(page(operator, "backfill/add/"), "option") == of_existing
    assert chosen_from(page(operator, "replay/add/"), "input") == made
    make_event(topic="order.voided")
    # Events that exist can be sent again, but none of that topic can be made of an order.
    assert chosen_from(page(operator, "replay/add/"), "input") == {*made, "order.voided"}
    assert chosen_from(page(operator, "backfill/add/"), "option") == of_existing


def test_the_admins_filters_offer_what_can_be_made_and_what_events_have(use: Any, operator: Any) -> None:
    use("Paying")
    make_delivery(event=make_event(topic="order.voided"))
    for path in ("event/", "delivery/"):
        found = set(re.findall(r"[?&;]topic=(order\.[a-z_]+)", page(operator, path)))
        assert found == {*offered(), "order.voided"} - {"webhook.test"}, path


def test_the_api_lists_what_is_offered_and_takes_and_reads_other_topics(use: Any) -> None:
    use("Paying")
    api = client_with(*EVERYTHING)
    assert {topic["name"] for topic in api.get("/api/topics/").data} == offered() | set(operational.TOPICS)
    assert api.get("/api/topics/order.voided/").data["example"]["type"] == "order.voided"
    assert api.get("/api/topics/order.voided/schema/").status_code == 200
    assert api.get("/api/topics/order.payed/").status_code == 404
    fields = {"name": "CRM", "url": "https://crm.example.com/", "topics": ["order.voided", "order.*"]}
    created = post(api, "/subscriptions/", fields)
    assert (created.status_code, created.data["topics"]) == (201, fields["topics"])


@pytest.mark.django_db(transaction=True)
def test_a_store_publishes_a_topic_that_is_not_offered(use: Any) -> None:
    use("Paying")
    make_subscription(topics=["order.voided"])
    publishing.publish("order.voided", Purchase.objects.create())
    event = Event.objects.get(topic="order.voided")
    assert re.fullmatch("evt_[0-9A-Z]{26}", event.public_id)
    assert event.error == ""


def test_topics_that_a_source_brings_need_no_setting(use) -> None:
    with pytest.raises(topics.UnknownTopicError):
        topics.require("order.gift_wrapped")
    use("Bringing")
    assert topics.require("order.gift_wrapped").description == "It was wrapped as a gift."
    assert topics.require("order.paid").description == "The till says so."
    assert {"order.gift_wrapped", "order.paid"} <= offered()
    make_subscription(topics=["order.gift_wrapped"]).full_clean()


def test_the_setting_has_the_last_word_on_what_a_topic_means(use) -> None:
    use("Bringing", own={"order.gift_wrapped": "In paper of the season."})
    assert topics.require("order.gift_wrapped").description == "In paper of the season."


def test_sources_that_are_wrong_leave_the_built_in_topics(use) -> None:
    use("tests.nothing.Here")
    assert topics.require("order.paid").name == "order.paid"
