"""Settings of the web application: what is refused, what is secure, what never shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from openmetering.errors import InputError
from openmetering.interfaces.web.settings import Tls, WebSettings
from tests.interfaces.web.certificates import make_certificate

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"secret": "short"}, "web.secret"),
        ({"port": -1}, "web.port"),
        ({"port": 65536}, "web.port"),
        ({"requests_per_minute": 0}, "web.limit"),
        ({"logins_per_minute": 0}, "web.limit"),
        ({"largest_body": 0}, "web.limit"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, object], code: str) -> None:
    with pytest.raises(InputError) as caught:
        WebSettings(**{"secret": SECRET, **change})  # type: ignore[arg-type]
    assert caught.value.code == code


def test_the_secret_does_not_show() -> None:
    assert SECRET not in repr(WebSettings(secret=SECRET))
    assert repr(WebSettings(secret=SECRET)) == "WebSettings(host='127.0.0.1', port=8080, secure=False)"


def test_secure_with_tls_of_our_own_or_in_front() -> None:
    assert not WebSettings(secret=SECRET).secure
    assert WebSettings(secret=SECRET, behind_tls=True).secure
    assert WebSettings(secret=SECRET, tls=Tls(Path("a"), Path("b"))).secure


def test_files_of_tls_are_tried_before_the_port_is_opened(tmp_path: Path) -> None:
    good, other = make_certificate(tmp_path), make_certificate(tmp_path, "other")
    good.check()
    locked = make_certificate(tmp_path, "locked", b"sesame")  # nobody is there to be asked
    for wrong in (
        locked,
        Tls(tmp_path / "none", good.key),
        Tls(good.certificate, tmp_path / "none"),
        Tls(good.certificate, other.key),
    ):
        with pytest.raises(InputError) as caught:
            wrong.check()
        assert caught.value.code == "web.tls"
