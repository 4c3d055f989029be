"""Longer texts for people, loaded for the one event that has them."""

FIXES = {
    "refused": (
        "the server no longer knows this device's credentials: restore them there, enter the new ones here "
        "(firstboot credentials), or provision the device anew (firstboot reset credentials)"
    ),
    "displaced": (
        "the server ends each session soon: most often another board has a copy of this one's flash, and logs in as "
        "the same device. Have one of them provision anew (firstboot reset credentials), or flash it again"
    ),
}
