"""How fast observerd is, as ratios to something measured beside it in the same run: `make bench`."""
