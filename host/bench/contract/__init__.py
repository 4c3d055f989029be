"""The contract between board and host: the events of the firmware and their fields."""
