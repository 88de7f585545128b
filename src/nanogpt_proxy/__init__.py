"""A proxy that lets each user of one Open WebUI pay for their own NanoGPT use."""

__version__ = "0.1.0"
