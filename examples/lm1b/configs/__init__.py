"""Configs of runs: `--config=configs/NAME.py`."""
