"""What everything may import: tokens, noise levels, flow, backbone, trainer, results.

Names no method, encoder or probe.
"""
