"""Reads what a view left unread of its request.

An answer that begins before that is lost on the way: Caddy still sends the body, finds that nobody
takes it any more, and gives up both. Every redirect, refusal and 405 of a POST is such an answer.
Of those with 3 MB every second one was lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from threading import Timer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PIECE_BYTES = 65_536


class ReadsWholeBodies:
    """A WSGI application that has read all of a request before its answer begins.

    Args:
        application: the one that answers. It has called `start_response` when it returns, as
            Django's does; nothing is sent by then.
        seconds: how long a client may take for what the application left. One that takes longer
            gets its answer, and gunicorn closes the connection.
    """

    def __init__(self, application: WSGIApplication, *, seconds: float) -> None:
        self._application = application
        self._seconds = seconds

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = self._application(environ, start_response)
        has_length = environ.get("CONTENT_LENGTH") not in (None, "", "0")
        if has_length or "HTTP_TRANSFER_ENCODING" in environ:
            _read_the_rest(environ["wsgi.input"], environ.get("gunicorn.socket"), self._seconds)
        return answer


def _read_the_rest(body: Any, connection: socket.socket | None, seconds: float) -> None:
    before = connection.gettimeout() if connection else None
    # The time-out alone is none for a client that sends a byte now and then: each begins it anew.
    # Beyond it nothing is waited for.
    late = Timer(seconds, connection.settimeout if connection else id, [0.0])
    late.daemon = True
    if connection:
        connection.settimeout(seconds)
    late.start()
    try:
        # It hung up, was too slow, or what it sends is no HTTP: each server has its own words for
        # that, and gunicorn uses the connection no more.
        with suppress(Exception):
            while body.read(PIECE_BYTES):
                pass
    finally:
        late.cancel()
        if connection:
            connection.settimeout(before)
