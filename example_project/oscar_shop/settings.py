"""Settings of the shop on django-oscar: those of the example shop, with Oscar in the place of its pages."""

import os
from pathlib import Path

# Before the other settings read it: each shop has a database of its own.
os.environ.setdefault("ORDERHOOKS_DEMO_DIR", str(Path(__file__).resolve().parent.parent.parent / "var" / "oscar"))

import oscar
from oscar.defaults import *  # noqa: F403

from shop_site import settings as example
from shop_site.settings import *  # noqa: F403

ROOT_URLCONF = "oscar_shop.urls"
SITE_ID = 1
PAGES = [*example.INSTALLED_APPS, *oscar.INSTALLED_APPS]
# The checkout takes a payment, which Oscar leaves to the shop.
FORKED = {"oscar.apps.checkout.apps.CheckoutConfig": "oscar_shop.checkout.apps.CheckoutConfig"}
INSTALLED_APPS = [
    # Before Oscar, whose templates they extend.
    "oscar_shop",
    "orderhooks.contrib.oscar",
    *dict.fromkeys(FORKED.get(name, name) for name in PAGES),
]
MIDDLEWARE = [
    *example.MIDDLEWARE,
    "oscar.apps.basket.middleware.BasketMiddleware",
    "django.contrib.flatpages.middleware.FlatpageFallbackMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                *example.TEMPLATES[0]["OPTIONS"]["context_processors"],  # type: ignore[index]
                "django.template.context_processors.i18n",
                "oscar.apps.search.context_processors.search_form",
                "oscar.apps.checkout.context_processors.checkout",
                "oscar.apps.communication.notifications.context_processors.notifications",
                "oscar.core.context_processors.metadata",
            ]
        },
    }
]
AUTHENTICATION_BACKENDS = [
    "oscar.apps.customer.auth_backends.EmailBackend",
    "django.contrib.auth.backends.ModelBackend",
]
HAYSTACK_CONNECTIONS = {"default": {"ENGINE": "oscar_shop.articles.ArticlesEngine"}}
# That engine reads the articles' own table, so nothing is to be updated.
HAYSTACK_SIGNAL_PROCESSOR = "haystack.signals.BaseSignalProcessor"
MEDIA_URL = "/media/"
MEDIA_ROOT = example.DEMO_DIR / "media"

OSCAR_SHOP_NAME = "Mug & Teapot"
OSCAR_DEFAULT_CURRENCY = "EUR"
OSCAR_ALLOW_ANON_CHECKOUT = True
OSCAR_THUMBNAILER = "oscar_shop.thumbnails.NoThumbnails"
OSCAR_INITIAL_ORDER_STATUS = "Pending"
OSCAR_INITIAL_LINE_STATUS = "Pending"
OSCAR_ORDER_STATUS_PIPELINE = {
    "Pending": ("Being processed", "Cancelled"),
    "Being processed": ("Complete", "Cancelled"),
    "Complete": (),
    "Cancelled": (),
}
OSCAR_LINE_STATUS_PIPELINE = {
    "Pending": ("Being processed", "Cancelled"),
    "Being processed": ("Shipped", "Cancelled"),
    "Shipped": (),
    "Cancelled": (),
}
OSCAR_ORDER_STATUS_CASCADE = {"Being processed": "Being processed", "Cancelled": "Cancelled"}

ORDERHOOKS = {**example.ORDERHOOKS, "SOURCES": ["orderhooks.contrib.oscar.OscarOrders"]}
