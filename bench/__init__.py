"""Measures Kerwen on this machine, side by side with a peer: `make bench`."""
