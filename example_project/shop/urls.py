"""The shop's pages."""

from django.urls import path

from shop import views

app_name = "shop"
urlpatterns = [
    path("", views.home, name="home"),
    path("orders/<str:public_id>/", views.order_page, name="order"),
    path("orders/<str:public_id>/<str:name>/", views.move, name="move"),
]
