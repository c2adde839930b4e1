from django.urls import path

from apps.home import views

app_name = "home"
urlpatterns = [
    path("", views.index, name="index"),
    path("messages/", views.post_message, name="post"),
    path("about/", views.about, name="about"),
    path("slow/", views.slow, name="slow"),
]
