"""Mirrors the packages: `tests/<package>/test_<module>.py`. Each module states the rule it holds."""
