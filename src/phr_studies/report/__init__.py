"""Figures, tables, films, the HTML page."""
