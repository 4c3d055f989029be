"""Updates over the air: loaded while one is chosen, fetched or judged, and unloaded again."""
