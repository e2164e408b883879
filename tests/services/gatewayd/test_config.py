"""The configuration: everything that can be said, and what is wrong in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from openmetering.errors import InputError
from openmetering.protocol.wired.orders import ReadPrimary, ReadSecondary
from openmetering.services.gatewayd.config import load_config, octets_of, read_config, seconds_of
from openmetering.transport.wired_door import secondary_selection

LEAST = """
[gateway]
name = "cellar"
state = "state"
[[source]]
at = "-"
"""

WHOLE = """
[gateway]
name = "cellar-1"
state = "/var/lib/gateway"
address = "OMS-00000042-01-31"
keys = "keys.csv"
secret_file = "secret"
[spool]
limit = "64MiB"
segment = 1048576
keep = "7d"
[merge]
hold = 1.5
window = "2s"
repeater_window = 30
[uplink]
to = "mqtts://broker.example:8883"
topic = "site/meters"
version = "3.1.1"
acknowledge = "broker"
user = "cellar"
password_file = "password"
ca = "ca.pem"
certificate = "own.pem"
private_key = "own.key"
batch = 100
linger = "1s"
[[source]]
at = "serial:/dev/ttyUSB0?stick=im871a&mode=c"
name = "stick"
sends = true
[[source]]
at = "mbus:/dev/ttyUSB1?baud=2400"
[[source.poll]]
address = "1-3"
every = "15m"
[[source.poll]]
secondary = "12345678,ELS-00000001-33-07"
at = ["00:00", "12:30:15"]
retries = 5
retry_after = "1m"
[[device]]
address = "ELS-12345678-33-07"
source = "stick"
profile = "B"
adapter = "ELS-00000009-33-37"
[[thinning]]
match = "*-*-*-08"
keep = "best"
slot = "60m"
[[thinning]]
match = "*"
keep = "status"
heartbeat = "12h"
"""


def test_the_least(tmp_path: Path) -> None:
    config = read_config(LEAST.encode(), tmp_path)
    assert (config.gateway.name, config.uplink.to, config.names()) == ("cellar", "spool", ["-"])
    assert config.gateway.state == str(tmp_path / "state")
    assert config.gateway.keys == ""


def test_everything(tmp_path: Path) -> None:
    config = read_config(WHOLE.encode(), tmp_path)
    assert config.names() == ["stick", "mbus:/dev/ttyUSB1"]
    assert config.gateway.state == "/var/lib/gateway"
    assert config.gateway.secret_file == str(tmp_path / "secret")
    assert config.uplink.ca == str(tmp_path / "ca.pem")
    first, second = config.source[1].poll
    assert [plan.target for plan in first.plans()] == [ReadPrimary(1), ReadPrimary(2), ReadPrimary(3)]
    assert first.plans()[0].every == 900.0
    plans = second.plans()
    assert plans[0].target == ReadSecondary(secondary_selection("12345678"))
    assert (plans[0].every, plans[0].at, plans[0].retries, plans[0].retry_after) == (None, (0.0, 45_015.0), 5, 60.0)
    assert [rule.rule().keep for rule in config.thinning] == ["best", "status"]
    assert config.thinning[0].rule().slot == 3600.0
    assert config.thinning[1].rule().heartbeat == 43_200.0


def test_a_poll_without_times_is_read_every_quarter_of_an_hour(tmp_path: Path) -> None:
    text = LEAST.replace('at = "-"', 'at = "mbus:/dev/x"\n[[source.poll]]\naddress = "1"')
    (plan,) = read_config(text.encode(), tmp_path).source[0].poll[0].plans()
    assert plan.every == 900.0


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("[gateway]", "[gateways]", "there is no field `gateways`"),
        ('name = "cellar"', "", "[gateway] missing `name`"),
        ('name = "cellar"', 'name = "the cellar"', "[gateway, name]"),
        ('name = "cellar"', "name = 5", "[gateway, name] Expected `str`, got `int`"),
        ('state = "state"', 'state = ""', "[gateway] state names no folder"),
        ('state = "state"', 'state = "x"\naddress = "me"', "[gateway] 'me' is no address"),
        ('state = "state"', 'state = "x"\ncolour = "red"', "[gateway] there is no field `colour`"),
        ('at = "-"', "", "[source 1] missing `at`"),
        ('[[source]]\nat = "-"', "", "[source] there is no source"),
        ('at = "-"', 'at = "-"\n[[source]]\nat = "-"', "[source] two sources are named '-'"),
        ('at = "-"', 'at = "-"\nlouder = 1', "[source 1] there is no field `louder`"),
        ('at = "-"', 'at = "-"\n[[source.poll]]\naddress = "1"', "only wired lines are polled"),
        ('at = "-"', 'at = "mbus:/dev/x"\nsends = true', "sends is for sticks"),
        ('at = "-"', 'at = "mbus:/dev/x"\n[[source.poll]]\nevery = 5', "a poll names slaves"),
        ('at = "-"', 'at = "mbus:/dev/x"\n[[source.poll]]\naddress = "300"', "primary addresses are"),
        ('at = "-"', 'at = "mbus:/dev/x"\n[[source.poll]]\naddress = "1"\nevery = "soon"', "no duration"),
        ('at = "-"', 'at = "mbus:/dev/x"\n[[source.poll]]\naddress = "1"\nevery = 0.5', "too often"),
        ('at = "-"', 'at = "mbus:/dev/x"\n[[source.poll]]\naddress = "1"\nat = ["25:00"]', "no time of the day"),
        ('at = "-"', 'at = "mbus:/dev/x"\n[[source.poll]]\naddress = "1"\nretries = 99', "[source 1, poll 1, retries]"),
        ('at = "-"', 'at = "mbus:/dev/x"\n[[source.poll]]\naddress = "1,1"', "in two polls"),
        ('at = "-"', 'at = "-"\n[spool]\nlimit = "lots"', "[spool] 'lots' is no size"),
        ('at = "-"', 'at = "-"\n[spool]\nsegment = "1KiB"', "the least is 64KiB"),
        ('at = "-"', 'at = "-"\n[spool]\nlimit = "8MiB"', "at least two segments"),
        ('at = "-"', 'at = "-"\n[merge]\nhold = -1', "[merge] -1.0 is no duration"),
        ('at = "-"', 'at = "-"\n[uplink]\nto = "ftp://x"', "[uplink] to = 'ftp://x' is no way up"),
        ('at = "-"', 'at = "-"\n[uplink]\nto = "mqtt://x"\nca = "y"', "certificates are for"),
        ('at = "-"', 'at = "-"\n[uplink]\nto = "mqtts://x"\ncertificate = "y"', "belong together"),
        ('at = "-"', 'at = "-"\n[uplink]\nto = "mqtts://x"\ntopic = "a/+"', "no first part of topics"),
        ('at = "-"', 'at = "-"\n[uplink]\nbatch = 0', "[uplink, batch]"),
        ('at = "-"', 'at = "-"\n[uplink]\nversion = "4"', "[uplink, version]"),
        ('at = "-"', 'at = "-"\n[[device]]\naddress = "x"', "[device] 'x' is no address"),
        ('at = "-"', 'at = "-"\n[[device]]\naddress = "ELS-12345678-33-07"\nsource = "y"', "there is no source 'y'"),
        ('at = "-"', 'at = "-"\n[[device]]\naddress = "ELS-12345678-33-07"\nkey_id = 32', "[device 1, key_id]"),
        ('at = "-"', 'at = "-"\n[[device]]\naddress = "ELS-12345678-33-07"\nadapter = "z"', "'z' is no address"),
        ('at = "-"', 'at = "-"\n[[thinning]]\nmatch = "*"\nkeep = "best"\nslot = "20m"', "slots are 15m or 60m"),
        ('at = "-"', 'at = "-"\n[[thinning]]\nmatch = "*"\nkeep = "some"', "[thinning 1, keep]"),
        ('at = "-"', 'at = "-"\n[[thinning]]\nmatch = "123456789012"\nkeep = "best"', "[thinning] an address of 12"),
        ("[gateway]", "[gateway", "no TOML"),
    ],
)
def test_what_is_wrong(tmp_path: Path, before: str, after: str, words: str) -> None:
    assert before in LEAST
    with pytest.raises(InputError) as caught:
        read_config(LEAST.replace(before, after).encode(), tmp_path)
    assert words in caught.value.message


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_config(path)
    path.write_text(LEAST.replace("cellar", "a b"))
    with pytest.raises(InputError, match=r"^gateway.toml: \[gateway, name\]"):
        load_config(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="no TOML"):
        load_config(path)
    path.write_text(LEAST)
    assert load_config(path).gateway.name == "cellar"


@pytest.mark.parametrize(("text", "octets"), [(5, 5), ("5", 5), ("2K", 2048), ("3 MiB", 3 << 20), ("1G", 1 << 30)])
def test_sizes(text: int | str, octets: int) -> None:
    assert octets_of(text) == octets


@pytest.mark.parametrize("text", ["", "-5", "5 TB", "1.5MiB"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="no size"):
        octets_of(text)


def test_durations() -> None:
    assert seconds_of("1h30m") == 5400.0
    assert seconds_of(5) == 5.0
    with pytest.raises(InputError, match="no duration"):
        seconds_of(float("inf"))
