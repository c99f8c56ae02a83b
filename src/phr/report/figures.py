"""The pictures of a report; each is written as PNG, as a dark PNG and as SVG."""

from phr.report.agreement import agreement
from phr.report.curves import curve
from phr.report.figure4 import figure4
from phr.report.figure5 import figure5

__all__ = ["agreement", "curve", "figure4", "figure5"]
