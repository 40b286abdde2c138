"""Arrays in, arrays out: k-means and product quantization, fixed point, packing. Knows no graph."""
