"""Graph -> Graph: prune, product-quantize, fine-tune, calibrate. The only stage, with torch.export's frontend, that needs torch."""
