"""Distributions and transforms that torch and Pyro lack or have wrong; know no component and no network."""
