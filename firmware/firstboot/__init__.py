"""firstboot: a blank board becomes an online device with credentials of its own."""

__version__ = "0.1.0"
