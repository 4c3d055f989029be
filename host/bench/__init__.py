"""The bench: flashes boards, serves what they provision against, proves the whole way end to end."""
