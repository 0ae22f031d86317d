"""Exports: rows of an archive in the layouts of other tools, one module per tool, each file described in a sidecar.

Loaded only when an export is requested.
"""
