"""Settings of the example shop: one machine, SQLite, no service to install. Not for a shop open to the world."""

import os
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parent.parent
# Everything that the demo writes: database, mails, logs.
DEMO_DIR = Path(os.environ.get("ORDERHOOKS_DEMO_DIR") or PROJECT_DIR.parent / "var").resolve()
# SQLite makes a missing file, but not the folder it goes into.
DEMO_DIR.mkdir(parents=True, exist_ok=True)

SECRET_KEY = "known to everyone who reads this file, and good enough for a demo on loopback"
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ROOT_URLCONF = "shop_site.urls"
WSGI_APPLICATION = "shop_site.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    # The scripts of /api/docs/ and /api/redoc/.
    "drf_spectacular_sidecar",
    "django_q",
    "orderhooks",
    "shop",
    # The receivers. In production these are other people's machines; here too they are reached over HTTP.
    "inventory",
    "fulfilment",
    "mailroom",
    "crm",
    "troublemakers",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "/static/"
# Static files straight from the apps: no `collectstatic` before the first look.
WHITENOISE_USE_FINDERS = True

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DEMO_DIR / "demo.sqlite3",
        # django-q2 would otherwise open a connection for every task.
        "CONN_MAX_AGE": 600,
        "OPTIONS": {
            # Readers don't wait for the one writer, and writers queue up instead of failing half-way.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
    }
}
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = DEMO_DIR / "mails"
DEFAULT_FROM_EMAIL = "Mug & Teapot <shop@example.com>"

Q_CLUSTER = {
    "name": "orderhooks-demo",
    "orm": "default",
    "workers": 2,
    "timeout": 60,
    # Above `timeout`, or a task that is still being worked on is handed out again.
    "retry": 90,
    "max_attempts": 3,
    "poll": 0.1,
    "save_limit": -1,
    "catch_up": False,
}
# The receivers of the demo are plain HTTP on this machine.
ORDERHOOKS = {"REQUIRE_HTTPS": False, "ALLOWED_NETWORKS": ["127.0.0.1/32"]}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.SessionAuthentication",
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.BasicAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
}
