"""How the tests of the admin visit its pages."""

import re
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.test import Client

from tests.factories import (
    make_user,
)


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def staff(*permissions: str) -> Client:
    return client_of(make_user(*permissions, is_staff=True))


def page(client: Client, path: str, status: int = 200) -> str:
    response = client.get(f"/admin/orderhooks/{path}")
    assert response.status_code == status
    return response.content.decode()


def text_of(response: Any) -> str:
    """The text of a response, also of one that is streamed."""
    body: bytes = b"".join(response.streaming_content) if response.streaming else response.content
    return body.decode()


def part(pattern: str, text: str) -> str:
    """The first part of a page that fits the pattern."""
    found = re.search(pattern, text, re.DOTALL)
    assert found, f"The page has no {pattern}."
    return found.group()


def run(client: Client, record: str, action: str, *rows: Any) -> str:
    """Run an action on the rows and return the page that follows."""
    data = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(f"/admin/orderhooks/{record}/", data, follow=True).content.decode()


def history_of(record: Any) -> list[tuple[str, str]]:
    """Who did what to it, oldest first."""
    kind = ContentType.objects.get_for_model(record)
    entries = LogEntry.objects.filter(content_type=kind, object_id=str(record.pk)).order_by("pk")
    return [(entry.user.get_username(), entry.change_message) for entry in entries]


def errors_of(client: Client, path: str, form: dict[str, Any]) -> dict[str, Any]:
    response = client.post(f"/admin/orderhooks/{path}", form)
    assert response.status_code == 200, "the form was accepted"
    found = dict(response.context["adminform"].form.errors)
    for formset in response.context["inline_admin_formsets"]:
        for index, row in enumerate(formset.formset.errors):
            found |= {f"{index}.{name}": text for name, text in row.items()}
    return found
