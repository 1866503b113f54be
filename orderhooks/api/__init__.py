"""The REST API; the only place that uses Django REST Framework. Mount it with `include("orderhooks.api.urls")`."""
