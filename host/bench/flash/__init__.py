"""Flashing: images, partitions, file systems, esptool, bring-up of boards, their inventory, trays and labels."""
