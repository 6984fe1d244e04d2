"""``bamsearch audit``: which scores order designs as training does."""
