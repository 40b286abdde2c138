"""THE SEAM: a Program is frozen: kernel calls, constant tables and arena offsets, every number resolved."""
