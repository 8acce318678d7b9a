"""Classifiers of grains: trained on a labelled table, tested, written to a file that workers read."""
