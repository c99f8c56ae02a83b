"""The pictures of a report; each is written as PNG, as a dark PNG and as SVG."""

from phr_studies.report.agreement import agreement
from phr_studies.report.curves import curve
from phr_studies.report.figure4 import figure4
from phr_studies.report.figure5 import figure5

__all__ = ["agreement", "curve", "figure4", "figure5"]
