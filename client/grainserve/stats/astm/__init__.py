"""Grain size by the test methods of ASTM E112 and E930."""
