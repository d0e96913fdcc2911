"""Motion clips, retargeting and rendered video."""
