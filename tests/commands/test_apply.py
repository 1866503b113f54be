"""`orderhooks_apply` makes the subscriptions what a file says: all of it or nothing, and the second time nothing."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandError

from orderhooks.api.subscription_fields import SubscriptionSerializer
from orderhooks.models import Subscription
from orderhooks.models.configuration import CONFIGURABLE
from tests.commands.calls import called
from tests.factories import make_subscription

pytestmark = pytest.mark.django_db

CRM = """
[[subscriptions]]
name = "CRM"
url = "https://crm.example.com/hooks"
topics = ["order.paid", "order.cancelled"]
max_in_flight = 4
headers = { X-Api-Key = "Bearer ${CRM_KEY}" }
"""
SHELF = """
[[subscriptions]]
name = "Shelf"
url = "https://shelf.example.com/"
topics = ["*"]
state = "paused"
"""


@pytest.fixture(autouse=True)
def key(monkeypatch) -> None:
    monkeypatch.setenv("CRM_KEY", "open sesame")


@pytest.fixture
def apply(tmp_path: Path) -> Callable[..., str]:
    def run(text: str, *options: str) -> str:
        file = tmp_path / "subscriptions.toml"
        file.write_text(text)
        return called("orderhooks_apply", file, *options)

    return run


def test_it_makes_what_there_is_not_and_shows_each_secret_once(apply) -> None:
    printed = apply(CRM + SHELF)
    crm, shelf = Subscription.objects.order_by("name")
    assert (crm.url, crm.topics, crm.max_in_flight) == (
        "https://crm.example.com/hooks",
        ["order.paid", "order.cancelled"],
        4,
    )
    assert crm.own_headers() == {"X-Api-Key": "Bearer open sesame"}
    assert (crm.state, shelf.state) == ("active", "paused")
    lines = printed.splitlines()
    assert lines[0] == "+ CRM"
    assert "    topics: order.paid, order.cancelled" in lines
    assert "    headers: X-Api-Key: (hidden)" in lines
    assert "2 created, 0 changed, 0 unchanged." in lines
    secrets = dict(re.findall(r"Secret of (\w+), shown only once: (whsec_\S+)", printed))
    assert {name: [secrets[name]] for name in secrets} == {
        one.name: one.live_secrets(now=one.created_at) for one in (crm, shelf)
    }
    assert "sesame" not in printed


def test_the_second_time_changes_nothing(apply) -> None:
    apply(CRM + SHELF)
    before = list(Subscription.objects.order_by("pk").values())
    assert apply(CRM + SHELF) == "= CRM\n= Shelf\nNo changes: 2 unchanged.\n"
    assert list(Subscription.objects.order_by("pk").values()) == before


def test_what_differs_is_shown_and_changed_and_nothing_else(apply) -> None:
    apply(CRM)
    Subscription.objects.update(state="paused")
    other = make_subscription(name="Other")
    printed = apply(CRM.replace("max_in_flight = 4\n", "").replace("/hooks", "/webhooks"))
    assert printed.splitlines() == [
        "~ CRM",
        "    url: https://crm.example.com/hooks → https://crm.example.com/webhooks",
        "    max_in_flight: 4 → none",
        "0 created, 1 changed, 0 unchanged.",
    ]
    crm = Subscription.objects.get(name="CRM")
    assert (crm.url, crm.max_in_flight) == ("https://crm.example.com/webhooks", None)
    assert crm.state == "paused", "what is not given of it stays"
    other.refresh_from_db()
    assert other.name == "Other"


def test_a_header_that_has_changed_is_known_and_not_shown(apply, monkeypatch) -> None:
    apply(CRM)
    monkeypatch.setenv("CRM_KEY", "close sesame")
    assert apply(CRM).splitlines()[:2] == ["~ CRM", "    headers: X-Api-Key: (hidden) → X-Api-Key: (hidden)"]
    assert Subscription.objects.get().own_headers() == {"X-Api-Key": "Bearer close sesame"}


def test_of_a_key_pair_the_public_half_alone_is_shown(apply) -> None:
    apply(SHELF)
    changed = apply(SHELF + 'signature = "ed25519"\n')
    made = apply(CRM + 'signature = "ed25519"\n')
    assert "signature: standard → ed25519" in changed
    for name, printed in (("Shelf", changed), ("CRM", made)):
        newest = Subscription.objects.get(name=name).secrets.order_by("-pk")[0]
        assert f"Public key of {name}: {newest.public_key}" in printed
        assert "whsk_" not in printed
        assert newest.public_key.startswith("whpk_")


def test_a_dry_run_shows_and_leaves_all(apply) -> None:
    printed = apply(CRM, "--dry-run")
    assert printed.startswith("+ CRM\n")
    assert printed.endswith("1 to create, 0 to change, 0 unchanged.\n")
    assert not Subscription.objects.exists()


def table(**values: Any) -> str:
    given = {"name": '"CRM"', "url": '"https://crm.example.com/"', "topics": '["*"]', **values}
    return "[[subscriptions]]\n" + "".join(f"{name} = {value}\n" for name, value in given.items() if value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "is not valid TOML"),
        ("[subscriptions]", "must hold tables [[subscriptions]]"),
        ("a = 1", "must hold tables [[subscriptions]]"),
        (table(url=""), "[[subscriptions]] 1 (CRM): url: is missing."),
        (table(name=""), "[[subscriptions]] 1: name: is missing."),
        (table(colour='"red"'), "(CRM): colour: is not a known key. Known keys: name, url"),
        (table(name="1"), "name: must be a text, not 1."),
        (table(ordered="1"), "ordered: must be true or false, not 1."),
        (table(max_in_flight='"5"'), "max_in_flight: must be a whole number, not '5'."),
        (table(max_in_flight="0"), "max_in_flight: Ensure this value is greater than or equal to 1."),
        (
            table(update_interval_seconds="86401"),
            "update_interval_seconds: Ensure this value is less than or equal to 86400.",
        ),
        (table(timeout_seconds="31"), "timeout_seconds: Ensure this value is less than or equal to 30."),
        (table(objective_share='"99"'), "objective_share: must be a number, not '99'."),
        (table(objective_share="101"), "objective_share: Ensure this value is less than or equal to 100"),
        (table(objective_share="nan"), "objective_share: Give a number, such as 99.5."),
        (table(state='"disabled"'), "state: must be one of active, paused."),
        (table(topics='["order.pade"]'), "topics: "),
        (table(topics='"order.paid"'), "topics: "),
        (table(url='"ftp://a"'), "url: "),
        (table(signature='"rot13"'), "signature: "),
        (table(headers='"a"'), "headers: must be a table of texts."),
        (table(headers="{ a = 1 }"), "headers: must be a table of texts."),
        (table(headers='{ Host = "a" }'), "headers: The header Host is set by orderhooks itself."),
        (table(headers='{ A = "${NO_SUCH_NAME}" }'), "headers: the environment has no variable NO_SUCH_NAME."),
        (table() + table(), "[[subscriptions]] 2 (CRM): the name is used twice in the file."),
    ],
)
def test_each_fault_is_listed_with_its_place_and_nothing_is_changed(apply, text: str, words: str) -> None:
    with pytest.raises(CommandError) as raised:
        apply(text)
    told, *faults = str(raised.value).splitlines()
    assert told == "Nothing was changed."
    assert words in str(raised.value)
    assert all("subscriptions.toml" in fault for fault in faults), "each names its file"
    assert not Subscription.objects.exists()


def test_one_fault_keeps_the_rest_from_being_applied_and_all_are_listed(apply) -> None:
    with pytest.raises(CommandError) as raised:
        apply(SHELF + table(url='"ftp://a"', colour="1") + table(name='"C"', topics='["x"]'))
    assert "1 (Shelf)" not in str(raised.value)
    assert "2 (CRM): colour" in str(raised.value)
    assert "3 (C): topics" in str(raised.value)
    assert not Subscription.objects.exists()


def test_a_name_that_two_have_is_no_name(apply) -> None:
    twins = [make_subscription(name="CRM") for _ in range(2)]
    with pytest.raises(
        CommandError, match=f"name: 2 subscriptions have this name: {twins[0].public_id}, {twins[1].public_id}"
    ):
        apply(CRM)


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="can't be read: No such file"):
        called("orderhooks_apply", tmp_path / "none.toml")


def test_the_keys_are_the_fields_that_programs_write_by_the_api() -> None:
    written = {name for name, one in SubscriptionSerializer().fields.items() if not one.read_only}
    assert set(CONFIGURABLE) == written, "Add to CONFIGURABLE what is new in the API, and the reverse."
