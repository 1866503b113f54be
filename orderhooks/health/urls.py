"""The URLs of probes and metrics, in the namespace `orderhooks_health`."""

from django.urls import path

from orderhooks.health import metrics, probes

app_name = "orderhooks_health"

urlpatterns = [
    path("", probes.ready),
    path("live/", probes.live, name="live"),
    path("ready/", probes.ready, name="ready"),
    path("worker/", probes.worker, name="worker"),
    path("metrics/", metrics.metrics, name="metrics"),
]
