from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files import File
from PIL import Image

from apps.home.models import Message

MAX_PICTURE_BYTES = 5 * 1024 * 1024
# A few kilobytes of PNG can unpack to gigabytes in the browser of everybody who looks at them.
MAX_PICTURE_PIXELS = 50_000_000

# What Pillow finds in the file, whatever its name says, and the suffix it is stored with.
# MPO is what many phones write and call JPEG. SVG is missing on purpose: it can carry scripts.
SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif"}


class PictureField(forms.ImageField):
    """A picture that browsers can show, of bounded size, named after what it really is."""

    widget = forms.FileInput(attrs={"accept": "image/jpeg,image/png,image/webp,image/gif"})
    default_error_messages = {"invalid_image": "This is not a JPEG, PNG, WebP or GIF picture."}

    def to_python(self, data: File[Any] | None) -> File[Any] | None:
        if data and data.size > MAX_PICTURE_BYTES:  # before Pillow reads it
            raise ValidationError("This picture is larger than 5 MB.", code="too_large")
        picture = super().to_python(data)
        if picture is None:
            return None
        image: Image.Image = picture.image  # type: ignore[attr-defined]  # documented by Django
        suffix = SUFFIXES.get(image.format or "")
        if suffix is None:
            raise ValidationError(self.error_messages["invalid_image"], code="invalid_image")
        if image.width * image.height > MAX_PICTURE_PIXELS:
            raise ValidationError("This picture has more than 50 megapixels.", code="too_large")
        picture.name = f"picture{suffix}"
        return picture


class MessageForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    picture = PictureField(
        required=False,
        label="Picture (optional)",
        help_text="JPEG, PNG, WebP or GIF, up to 5 MB.",
    )

    class Meta:
        model = Message
        fields = ("name", "text", "picture")
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "name"}),
            "text": forms.Textarea(attrs={"rows": 4}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
