from __future__ import annotations

from io import BytesIO

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from apps.home import forms
from apps.home.forms import MessageForm
from apps.home.models import Message, picture_path

WORDS = {"name": "Ada", "text": "Good morning."}
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"


def picture(format: str) -> bytes:
    file = BytesIO()
    frames = {"save_all": True, "append_images": [Image.new("RGB", (4, 3))]}
    Image.new("RGB", (4, 3)).save(file, format, **(frames if format == "MPO" else {}))
    return file.getvalue()


def form_with(content: bytes, name: str = "picture.png") -> MessageForm:
    return MessageForm(WORDS, {"picture": SimpleUploadedFile(name, content)})


@pytest.mark.parametrize(
    ("format", "suffix"),
    [("JPEG", ".jpg"), ("MPO", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp"), ("GIF", ".gif")],
)
def test_a_picture_is_named_after_its_content_and_not_by_the_client(
    format: str, suffix: str
) -> None:
    form = form_with(picture(format), name="../../my holiday.html")

    assert form.is_valid(), form.errors
    assert form.cleaned_data["picture"].name == f"picture{suffix}"


@pytest.mark.parametrize("content", [SVG, b"GIF89a, not really", picture("TIFF"), picture("BMP")])
def test_what_browsers_cannot_show_safely_is_refused_under_any_name(content: bytes) -> None:
    assert form_with(content).errors == {
        "picture": ["This is not a JPEG, PNG, WebP or GIF picture."]
    }


def test_a_picture_of_too_many_bytes_is_refused_before_it_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: pytest.fail("it was opened"))

    form = form_with(bytes(forms.MAX_PICTURE_BYTES + 1))

    assert form.errors == {"picture": ["This picture is larger than 5 MB."]}


def test_a_picture_of_too_many_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "MAX_PICTURE_PIXELS", 11)

    form = form_with(picture("PNG"))

    assert form.errors == {"picture": ["This picture has more than 50 megapixels."]}


@pytest.mark.parametrize(
    "words",
    [
        {"name": "", "text": "Good morning."},
        {"name": "Ada", "text": " \n"},
        {"name": "A" * 81, "text": "Good morning."},
        {"name": "Ada", "text": "a" * 2001},
    ],
)
def test_words_that_are_missing_or_too_many_are_refused(words: dict[str, str]) -> None:
    assert not MessageForm(words).is_valid()


def test_words_are_enough() -> None:
    assert MessageForm({"name": "A" * 80, "text": "a" * 2000}).is_valid()


def test_pictures_of_one_name_are_stored_under_names_that_cannot_be_guessed() -> None:
    first, second = (picture_path(Message(), "picture.png") for _ in range(2))

    assert first != second
    assert len(first) == len("pictures/") + 32 + len(".png")
