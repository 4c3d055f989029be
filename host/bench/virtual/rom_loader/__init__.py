"""The serial loader in an ESP32's ROM, and the stub that esptool puts in its place."""
