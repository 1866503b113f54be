"""The catalogue of topics, and which patterns take in which topic."""

import pytest

from orderhooks import topics
from orderhooks.sources import BuiltInOrders
from orderhooks.topics import UnknownTopicError

BUILT_IN = {
    "order.created",
    "order.updated",
    "order.cancelled",
    "order.closed",
    "order.reopened",
    "order.authorized",
    "order.partially_paid",
    "order.paid",
    "order.partially_refunded",
    "order.refunded",
    "order.voided",
    "order.partially_fulfilled",
    "order.fulfilled",
    "order.returned",
    "order.fulfillment_created",
    "order.fulfillment_updated",
    "order.payment_created",
    "order.refund_created",
    "order.deleted",
    "order.redacted",
    "webhook.test",
}


def test_the_catalogue_holds_the_topics_of_an_orders_life():
    assert set(topics.catalogue()) == BUILT_IN


def test_each_topic_has_a_well_formed_name_and_a_sentence():
    for name, topic in topics.catalogue().items():
        assert topic.name == name
        assert topics.NAME.match(name)
        assert topic.description.endswith(".")


def test_every_change_of_the_built_in_order_has_its_topic():
    assert set(BuiltInOrders().own_topics()) < BUILT_IN


def test_a_stores_own_topics_stand_beside_the_built_in_ones(settings):
    settings.ORDERHOOKS = {"TOPICS": {"order.gift_wrapped": "An order was wrapped."}}

    assert set(topics.catalogue()) == {*BUILT_IN, "order.gift_wrapped"}
    assert topics.require("order.gift_wrapped").description == "An order was wrapped."
    assert topics.require_pattern("order.gift_wrapped") == "order.gift_wrapped"


@pytest.mark.parametrize("name", ["order.payed", "", "*", "order.*", "ORDER.PAID", "order.paid "])
def test_an_unknown_topic_is_refused_with_the_known_ones_and_the_setting(name):
    with pytest.raises(UnknownTopicError) as refused:
        topics.require(name)

    assert "order.paid" in str(refused.value)
    assert 'ORDERHOOKS["TOPICS"]' in str(refused.value)


@pytest.mark.parametrize("pattern", ["*", "order.*", "webhook.*", "order.paid"])
def test_a_topic_a_family_and_the_star_are_patterns(pattern):
    assert topics.require_pattern(pattern) == pattern


@pytest.mark.parametrize(
    "pattern",
    ["", "**", "order", "order.", "order.*.*", "*.paid", "ord*", "orders.*", ".*", "order.payed", None, 5, []],
)
def test_nothing_else_is_a_pattern(pattern):
    with pytest.raises(UnknownTopicError):
        topics.require_pattern(pattern)


@pytest.mark.parametrize(
    ("patterns", "topic", "taken_in"),
    [
        ([], "order.paid", False),
        (["*"], "order.paid", True),
        (["*"], "webhook.test", True),
        (["order.paid"], "order.paid", True),
        (["order.paid"], "order.partially_paid", False),
        (["order.pai"], "order.paid", False),
        (["order.*"], "order.paid", True),
        (["order.*"], "webhook.test", False),
        (["order.*"], "orders.paid", False),
        (["order.*"], "order", False),
        (["order.gift.*"], "order.gift.wrapped", True),
        (["order.cancelled", "order.paid"], "order.paid", True),
    ],
)
def test_patterns_take_in_what_they_say(patterns, topic, taken_in):
    assert topics.matches(patterns, topic) is taken_in


@pytest.mark.parametrize(
    "name", ["order", "Order.paid", "order..paid", ".paid", "order.", "order paid", "order.é", "a.b\n"]
)
def test_the_shape_of_names_is_strict(name):
    assert not topics.NAME.match(name)
