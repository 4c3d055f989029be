"""The HTTP side: devices and operators on one port, as ThingsBoard has it."""
