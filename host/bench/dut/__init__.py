"""Devices the bench can boot and listen to."""
