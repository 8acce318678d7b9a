"""Classifiers of grains: trained and tested on labelled tables, and saved to a file that workers read."""
