"""The wired bus: master, slaves, search. Source: EN 13757-2, EN 60870-5-2, OMS Volume 2 Annex P."""
