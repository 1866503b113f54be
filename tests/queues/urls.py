"""No pages: the shop of these tests only saves orders."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
