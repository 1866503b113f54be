"""`orderhooks_apply` declares logins too: secrets come from the environment, and are never printed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management.base import CommandError

from orderhooks.models import Subscription
from tests.certificates import client_pem
from tests.commands.calls import called

pytestmark = pytest.mark.django_db

LOGIN = 'authentication = { type = "basic", username = "shop", password = "${CRM_PASSWORD}" }\n'
CERTIFICATE = 'client_certificate = { certificate = "${CRM_CERTIFICATE}", private_key = "${CRM_KEY}" }\n'


def table(text: str = "", url: str = "https://crm.example.com/hooks") -> str:
    return f'[[subscriptions]]\nname = "CRM"\nurl = "{url}"\ntopics = ["*"]\n{text}'


@pytest.fixture
def apply(tmp_path: Path, monkeypatch) -> Callable[..., str]:
    chain, key = client_pem()
    for name, value in (("CRM_PASSWORD", "pa55word"), ("CRM_CERTIFICATE", chain), ("CRM_KEY", key)):
        monkeypatch.setenv(name, value)

    def run(text: str, *options: str) -> str:
        file = tmp_path / "subscriptions.toml"
        file.write_text(text)
        printed = called("orderhooks_apply", file, *options)
        assert "pa55word" not in printed
        assert "PRIVATE KEY" not in printed
        return printed

    return run


def test_logins_are_applied_once_and_go_along_to_another_host(apply) -> None:
    printed = apply(table(LOGIN + CERTIFICATE))
    assert "authentication: type: basic, username: shop, password: (hidden)" in printed
    subscription = Subscription.objects.get()
    assert subscription.basic_login() == ("shop", "pa55word")
    assert subscription.certificate_expires_at

    assert "~" not in apply(table(LOGIN + CERTIFICATE))

    # The file gives them again.
    apply(table(LOGIN + CERTIFICATE, url="https://elsewhere.example.com/hooks"))
    subscription.refresh_from_db()
    assert subscription.basic_login() == ("shop", "pa55word")
    assert subscription.client_certificate

    apply(table())
    subscription.refresh_from_db()
    assert (subscription.authentication, subscription.client_certificate) == ({}, {})
    assert subscription.certificate_expires_at is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('authentication = "basic"', "authentication: must be a table of texts."),
        ('authentication = { type = "basic", username = "a" }', "authentication: password: is missing."),
        (
            'authentication = { type = "basic", username = "${NONE_SUCH}" }',
            "environment has no variable NONE_SUCH.",
        ),
        ('client_certificate = { certificate = "x" }', "client_certificate: private_key: is missing."),
        (f'{LOGIN}headers = {{ Authorization = "x" }}', "authentication: The headers have an Authorization"),
    ],
)
def test_a_login_that_is_not_valid_is_refused_with_its_place(apply, text: str, fault: str) -> None:
    with pytest.raises(CommandError) as refused:
        apply(table(text))
    assert fault in str(refused.value)
    assert not Subscription.objects.exists()
