"""A network with BAM as one file that runs without bamsearch: ONNX, or PyTorch's own pt2.

A file is written beside its place, loaded again, and run on the same input as the network that it
came from. Only when both agree is it renamed to where it was asked for, so that what is there
always computes what PyTorch does.
"""
