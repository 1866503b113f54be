"""Versions of the body in the commands: who is on one that is gone or has ended; declarations move nobody on."""

from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.core.management.base import CommandError

from orderhooks.models import Subscription
from tests import versioned
from tests.commands.calls import called
from tests.factories import make_subscription
from tests.versioned import FIRST, NESTED

pytestmark = pytest.mark.django_db

ENDED = {**versioned.API_VERSIONS, FIRST: {"sunset_at": "2026-01-01"}}
CRM = '[[subscriptions]]\nname = "CRM"\nurl = "https://crm.example.com/"\ntopics = ["*"]\n'


def test_a_version_that_is_gone_fails_the_doctor_and_warns_in_checks() -> None:
    for number in range(12):
        make_subscription(name=f"Till {number:02}", api_version="2027-01-16")
    [message] = [one for one in run_checks(databases=["default"]) if one.id == "orderhooks.W027"]
    assert "Till 09 and 2 more can't be sent to: the version 2027-01-16 of the body is not registered." in message.msg
    with pytest.raises(CommandError):
        called("orderhooks_doctor")
    assert "! Till 00, " in called("orderhooks_status")


def test_a_version_past_its_sunset_is_listed(settings, capsys) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "API_VERSIONS": ENDED}
    make_subscription(name="Till", api_version=FIRST)
    make_subscription(name="Shelf", api_version=NESTED)
    text = "Till: still on the version 2026-11-01 of the body, whose sunset was 2026-01-01."
    assert f"! {text}" in called("orderhooks_status")
    assert f'"{text}' in called("orderhooks_status", "--json")
    assert not [one for one in run_checks(databases=["default"]) if one.id == "orderhooks.W027"]


def test_a_declaration_moves_only_where_it_says_so(settings, tmp_path: Path) -> None:
    make_subscription(name="CRM", url="https://crm.example.com/", api_version=FIRST)
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, **versioned.SETTINGS}
    file = tmp_path / "subscriptions.toml"

    def version_after(text: str) -> str:
        file.write_text(text)
        called("orderhooks_apply", file)
        return Subscription.objects.get(name="CRM").api_version

    assert version_after(CRM) == FIRST
    assert version_after(f'{CRM}api_version = "{NESTED}"\n') == NESTED
    assert version_after(CRM) == NESTED
    with pytest.raises(CommandError, match="not registered"):
        version_after(f'{CRM}api_version = "2027-01-16"\n')
    # One that is gone does not bar other changes.
    Subscription.objects.update(api_version="2027-01-16")
    assert version_after(f"{CRM}ordered = true\n") == "2027-01-16"
