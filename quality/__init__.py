"""Measures of what the engines make, against data with known truth; figures are committed as JSON."""
