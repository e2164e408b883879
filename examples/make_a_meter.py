"""A water meter that sends: compose a telegram of every security profile and read it back.

python examples/make_a_meter.py
"""

from __future__ import annotations

from decimal import Decimal

import openmetering as om
from openmetering.codec.apl.header import header_of
from openmetering.codec.apl.records import make
from openmetering.codec.ell import CommunicationControl

KEY = bytes(range(16))
METER = om.Address.parse("ELS-12345678-33-07")
ELL = CommunicationControl.build(bidirectional=1, synchronous=1)


def main() -> None:
    volume = make(header_of(bytes.fromhex("0C"), bytes.fromhex("13")), Decimal("123.456"))
    flow = make(header_of(bytes.fromhex("02"), bytes.fromhex("3B")), Decimal("0.042"))
    for profile in ("none", "A", "B", "D"):
        meter = om.Meter(METER, profile, communication_control=ELL, crc=True, frame_format="A")
        telegram = om.compose(meter, [volume, flow], access_number=42, counter=2739)
        octets = om.encode(telegram, KEY)
        again = om.decode(octets, KEY)
        print(f"profile {profile}: {len(octets)} octets on air, proof {again.security.proof}")
        print("  " + ", ".join(str(record) for record in again.records))


if __name__ == "__main__":
    main()
