from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("apps.home.urls")),
    # In production Caddy serves media from the volume; this is for `docker compose up` at home.
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),
]
