"""E-mails go out whether a project has EMAIL_BACKEND or, on Django 6.1, MAILERS; a check reports a missing mailer."""

from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from django.core import mail
from django.test import override_settings
from django.utils import timezone

from orderhooks import notifications
from orderhooks.checks import check_mail
from tests.factories import make_subscription
from tests.mail import HAS_MAILERS, LOCAL_MEMORY, SMTP, email_backend

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()
needs_mailers = pytest.mark.skipif(not HAS_MAILERS, reason="MAILERS came with Django 6.1")


def mailers(**aliases: str) -> AbstractContextManager[object]:
    return override_settings(MAILERS={alias: {"BACKEND": path} for alias, path in aliases.items()})


@pytest.fixture(autouse=True)
def failing(settings) -> None:
    settings.ADMINS = [("Ops", "ops@example.com")]
    make_subscription(failing_since=NOW - timedelta(hours=2), consecutive_failures=3)


@pytest.mark.parametrize(
    "project",
    [
        pytest.param(lambda: email_backend(LOCAL_MEMORY), id="EMAIL_BACKEND"),
        pytest.param(lambda: mailers(default=LOCAL_MEMORY), id="MAILERS", marks=needs_mailers),
        pytest.param(lambda: mailers(default=LOCAL_MEMORY, bulk=SMTP), id="two mailers", marks=needs_mailers),
    ],
)
def test_mail_goes_out_with_the_projects_default(project) -> None:
    with project():
        assert check_mail() == []
        assert notifications.send_due(now=NOW) == 1
    assert [message.to for message in mail.outbox] == [["ops@example.com"]]


@needs_mailers
@pytest.mark.parametrize("aliases", [{}, {"bulk": LOCAL_MEMORY}], ids=["none", "another"])
def test_a_project_without_a_default_mailer_gets_a_check_and_loses_no_notification(aliases) -> None:
    with mailers(**aliases):
        [message] = check_mail()
        assert message.id == "orderhooks.W064"
        assert 'MAILERS["default"]' in (message.hint or "")
        assert notifications.send_due(now=NOW) == 0
    assert notifications.due(now=NOW + notifications.PAUSE).exists()
