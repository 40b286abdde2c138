"""Networks, data sets and released artefacts."""
