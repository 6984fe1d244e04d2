"""Export networks to files that run without bamsearch: ONNX, or PyTorch's pt2.

A draft file is loaded again and run on the same input as the network. Only if both agree, it is
renamed to the requested path, so that exported files always compute the same as PyTorch.
"""
