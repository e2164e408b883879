"""Decode a log of telegrams and print the newest value of every meter.

    python examples/decode_log.py LOG KEYFILE

Any line format that ``oms decode`` reads will do.
"""

from __future__ import annotations

import sys
from pathlib import Path

import openmetering as om
from openmetering.interfaces.cli.keyfiles import load_keyring
from openmetering.transport.lines import parse_lines
from openmetering.transport.reception import Reception


def main(log: str, keys: str) -> None:
    decoder = om.Decoder(load_keyring(Path(keys)))
    newest: dict[str, str] = {}
    with open(log, encoding="utf-8") as lines:
        for item in parse_lines(lines):
            if not isinstance(item, Reception):
                print(f"line {item.number}: {item.error.message}", file=sys.stderr)
                continue
            telegram = decoder.examine(item.frame)
            if telegram.error is not None:
                print(f"{telegram.address}: {telegram.error.message} ({telegram.error.code})", file=sys.stderr)
            for record in telegram.records[:1]:
                newest[str(telegram.address)] = str(record)
    for address, record in sorted(newest.items()):
        print(address, record)


if __name__ == "__main__":
    main(*sys.argv[1:3])
