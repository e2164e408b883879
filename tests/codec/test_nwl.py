"""Network layer: recognised, kept as it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.nwl import CI, NetworkLayer, decode


@given(st.binary(max_size=30), st.binary(max_size=5))
def test_everything_behind_the_ci_field_is_kept(data, before):
    layer, end = decode(before + bytes((CI,)) + data, len(before) + 1)
    assert layer == NetworkLayer(data)
    assert end == len(before) + 1 + len(data)
    assert layer.encode() == bytes((0x81,)) + data
