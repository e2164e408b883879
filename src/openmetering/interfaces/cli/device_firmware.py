"""``oms device firmware``: UC-05."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openmetering.errors import InputError
from openmetering.interfaces.cli import device_show as show
from openmetering.interfaces.cli.device_call import Call
from openmetering.protocol.operator.firmware import (
    FirmwareImage,
    UpdateOptions,
    read_image_state,
    terminate_image,
    update_firmware,
)

__all__ = ["FIRMWARE"]

_LARGEST = 255  #: L field that a device with firmware update over the radio can receive

EPILOG = """\b
Examples
  oms device firmware ELS-12345678-33-03 image.bin --identifier V1.2 --via mbus:/dev/ttyUSB1 --keys keys.csv
  oms device firmware ELS-12345678-33-03 image.bin --identifier V1.2 --no-activate --via ...    stop when it is valid
  oms device firmware ELS-12345678-33-03 image.bin --identifier V1.2 --via ...                  the same again: goes on
  oms device firmware ELS-12345678-33-03 --state-only --identifier V1.2 --via ...
  oms device firmware ELS-12345678-33-03 --terminate --identifier V1.2 --via ...
"""


def _identifier(text: str | None, image: Path | None) -> bytes:
    """The identifier of an image as octets; by default the name of the file. Raises InputError."""
    if text is None:
        if image is None:
            raise InputError("which image? name it with --identifier")
        text = image.stem
    if text.startswith("0x"):
        try:
            return bytes.fromhex(text[2:])
        except ValueError:
            raise InputError(f"--identifier {text}: these are no hexadecimal digits") from None
    return text.encode()


def _octets(image: Path | None) -> bytes:
    """Raises InputError."""
    if image is None:
        raise InputError("which image? name its file, or use --state-only or --terminate")
    try:
        return image.read_bytes()
    except OSError as error:
        raise InputError(f"{image} cannot be read: {error.strerror or error}") from None


def firmware(
    call: Call,
    image: Annotated[Path | None, typer.Argument(help="File with the image.", metavar="[IMAGE]")] = None,
    identifier: Annotated[
        str | None, typer.Option("--identifier", help="Name of the image, text or 0x...  (default: name of the file)")
    ] = None,
    block_size: Annotated[int, typer.Option("--block-size", min=1, max=200, help="Octets of a block; IDIS 200.")] = 190,
    activate: Annotated[bool, typer.Option("--activate/--no-activate", help="Activate the image when it is valid.")] = True,
    after: Annotated[int, typer.Option("--after", min=0, help="Activate after this many seconds.")] = 0,
    confirmed: Annotated[
        bool, typer.Option("--confirmed", help="Have every block answered (IDIS), not only acknowledged.")
    ] = False,
    poll: Annotated[float, typer.Option("--poll", min=0.1, help="Seconds between two questions for the state.")] = 30.0,
    state_only: Annotated[bool, typer.Option("--state-only", help="Tell where the transfer is.")] = False,
    terminate: Annotated[bool, typer.Option("--terminate", help="Give the transfer up.")] = False,
) -> None:
    """Update the firmware, or see how far it is (UC-05).

    Called again after an interruption of any kind, it goes on where the device is. Only blocks that are missing are sent.
    """
    name = _identifier(identifier, image)
    if state_only:
        call.run(lambda head_end: read_image_state(name), show.image_state, meaning="firmware state")
        return
    if terminate:
        call.run(
            lambda head_end: terminate_image(head_end, call.device, name, issue=call.issue),
            show.image_state,
            meaning="firmware terminate",
            danger=f"{call.device}: give the firmware transfer up.",
        )
        return
    call.largest = _LARGEST
    loaded = FirmwareImage(name, _octets(image), block_size)
    options = UpdateOptions(activate, after, secured=not call.idis, confirmed=confirmed, poll=poll)
    call.run(
        lambda head_end: update_firmware(head_end, call.device, loaded, options=options, issue=call.issue),
        show.firmware_result,
        meaning="firmware update",
        danger=f"{call.device}: new firmware, {len(loaded.octets)} octets in {loaded.block_count} blocks.",
    )


FIRMWARE = ("firmware", firmware, EPILOG)
