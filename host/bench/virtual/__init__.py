"""Virtual boards: power, flash, chip, ROM loader and serial line of an ESP32, without the hardware."""
