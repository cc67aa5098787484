"""The Open Inference Protocol's tensors: from a request's bytes to rows, and from outputs to a response's bytes.

https://github.com/kserve/open-inference-protocol, with Triton's binary tensor extension. Knows no web framework.
"""
