"""The one place where layers and keys meet: octets to telegrams and back."""

from openmetering.telegram.answer import Answer, answer, answer_json
from openmetering.telegram.compose import Meter, compose
from openmetering.telegram.decoder import Decoder, decode, examine
from openmetering.telegram.encoder import encode, encode_fragments
from openmetering.telegram.model import STRICT, TOLERANT, Policy, SecurityReport, Telegram
from openmetering.telegram.reassembly import Readout, Reassembler

__all__ = [
    "STRICT",
    "TOLERANT",
    "Answer",
    "Decoder",
    "Meter",
    "Policy",
    "Readout",
    "Reassembler",
    "SecurityReport",
    "Telegram",
    "answer",
    "answer_json",
    "compose",
    "decode",
    "encode",
    "encode_fragments",
    "examine",
]
