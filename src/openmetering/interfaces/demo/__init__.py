"""The bundled building: its devices as data, the recording of one day, and its replay.

``building.toml`` names the devices, ``building`` makes the recording with our own encoder,
``replay`` plays it. All addresses and keys are made up; the maker codes EX? belong to nobody.
"""
