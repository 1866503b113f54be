"""The receivers in docs/receivers, with their own language's library of Standard Webhooks, take real deliveries."""

import shutil
import subprocess
from pathlib import Path

import pytest

from orderhooks import tasks
from orderhooks.models import Delivery, Subscription
from tests.factories import make_order
from tests.servers import free_port
from tests.test_receiver_code import assert_right, outcomes, running

pytestmark = pytest.mark.django_db(transaction=True)

RECEIVERS = Path(__file__).parent.parent / "docs" / "receivers"
INSTALL_SECONDS = 60


@pytest.fixture
def node_receiver(tmp_path: Path) -> Path:
    """The folder of the receiver for Node, with its library installed."""
    for needed in ("node", "npm"):
        if shutil.which(needed) is None:
            pytest.skip(f"there is no {needed} on this machine")
    folder = tmp_path / "node"
    shutil.copytree(RECEIVERS / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm got no library in {INSTALL_SECONDS} s")
    if done.returncode:
        pytest.skip(f"npm could not install the library: {done.stderr.strip()[-300:]}")
    return folder


def test_the_receiver_for_node_takes_what_the_store_sends(node_receiver: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    subscription, secret = Subscription.create_with_secret(name="Node", url=url, topics=["order.created", "order.paid"])
    with running(
        ["node", "receiver.mjs"], port=port, folder=node_receiver, PORT=str(port), ORDERHOOKS_SECRET=secret
    ) as process:
        order = make_order(number="A-7")
        order.payment_status = "paid"
        order.save()
        tasks.pump()
        assert set(Delivery.objects.values_list("event__topic", "state", "last_status_code")) == {
            ("order.created", "delivered", 204),
            ("order.paid", "delivered", 204),
        }
        Delivery.objects.filter(event__topic="order.paid").redeliver()
        tasks.pump()
        assert Delivery.objects.get(event__topic="order.paid").last_status_code == 200, "it acts once on each event"
        assert_right(outcomes(url, subscription))
        assert process.poll() is None, "nothing that it was sent has ended it"
        printed = (node_receiver / "output.txt").read_text()
    assert "order.paid: order A-7, 0.00 EUR" in printed
    assert printed.count("order.paid: order A-7") == 1
    assert "refused: " in printed
