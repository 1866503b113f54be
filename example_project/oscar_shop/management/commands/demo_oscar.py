"""The shop on django-oscar with everything running; a line for each delivery attempt. Ctrl-C ends it."""

from django.conf import settings

from shop import processes
from shop.management.commands import demo


class Command(demo.Command):
    help = "Run the shop on django-oscar with its receivers and a worker. Ctrl-C ends it."
    setup = "setup_oscar_demo"

    def greet(self, site: processes.Site) -> None:
        self.stdout.write(
            f"Shop       {site.address}  (buy something; any name, and an address with a real postcode)\n"
            f"Dashboard  {site.address}dashboard/orders/  (user admin@example.com, password admin)\n"
            f"Admin      {site.address}admin/orderhooks/delivery/  (the log of the webhooks)\n"
            f"Mails, logs and the database are in {settings.DEMO_DIR}. Ctrl-C ends the demo.\n\n"
            "The subscriptions `flaky` and `dead` fail on purpose.\n"
        )
        self.stdout.flush()

    def shopper(self, site: processes.Site) -> "Nobody":
        return Nobody(site.address)


class Nobody(demo.Shopper):
    """The customer is the person in front of the screen."""

    def step(self) -> None:
        pass
