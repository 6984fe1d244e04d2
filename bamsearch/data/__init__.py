"""Labelled images by name, split in three: start at :func:`bamsearch.data.loading.load_data`."""
