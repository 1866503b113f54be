"""Locks that are held by name."""

import threading

import pytest
from django.db import connection

from orderhooks.db.locks import one_at_a_time

pytestmark = pytest.mark.django_db(transaction=True)


def test_transactions_of_one_name_go_one_after_the_other_and_others_beside_them():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite in memory is one connection; run with TEST_DATABASE=postgres")
    inside, let_go, done = threading.Event(), threading.Event(), []

    def hold() -> None:
        try:
            with one_at_a_time("default", "a"):
                inside.set()
                assert let_go.wait(20)
                done.append("first")
        finally:
            connection.close()

    def follow() -> None:
        try:
            with one_at_a_time("default", "a"):
                done.append("second")
        finally:
            connection.close()

    threads = [threading.Thread(target=hold), threading.Thread(target=follow)]
    threads[0].start()
    assert inside.wait(20)
    threads[1].start()
    with one_at_a_time("default", "b"):
        done.append("other")
    let_go.set()
    for thread in threads:
        thread.join(20)
    assert done == ["other", "first", "second"]
