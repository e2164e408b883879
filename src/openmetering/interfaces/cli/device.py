"""``oms device``: every use case of OMS Volume 2 Annex M, over a real or a simulated link."""

from __future__ import annotations

import typer

from openmetering.interfaces.cli import device_data, device_keys, device_switch
from openmetering.interfaces.cli.device_call import command_of
from openmetering.interfaces.cli.device_firmware import FIRMWARE

__all__ = ["register"]

_COMMANDS = (*device_data.COMMANDS, *device_switch.COMMANDS, FIRMWARE, *device_keys.COMMANDS)

_SETTINGS = {"clock": {"ignore_unknown_options": True}}  #: -30 is a number of seconds


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    device = typer.Typer(
        no_args_is_help=True,
        help="Command a device: registration, state, valve, clock, firmware, keys and the rest of Annex M.",
    )
    for name, function, epilog in _COMMANDS:
        device.command(name, epilog=epilog, no_args_is_help=True, context_settings=_SETTINGS.get(name))(
            command_of(name, function)
        )
    app.add_typer(device, name="device")
