"""Print the lock: the exact versions installed in this environment, names and versions only.

Used by ``make lock``. The result is a constraint file: it pins what is installed but installs nothing by itself,
so one file serves every Python version and every set of extras.
"""

from __future__ import annotations

import sys
from importlib.metadata import distributions

LEFT_OUT = {"openmetering", "pip", "setuptools", "wheel"}
HEADER = """\
# Versions this project is tested with. A constraint file: pip install -c requirements/lock.txt ...
# Written by `make lock`; valid for Python 3.11 to 3.14."""


def main() -> int:
    pins = {str(found.metadata["Name"]).lower().replace("_", "-"): found.version for found in distributions()}
    print(HEADER)
    for name in sorted(pins.keys() - LEFT_OUT):
        print(f"{name}=={pins[name]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
