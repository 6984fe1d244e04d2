"""Data sets of labelled images in three splits, see :func:`bamsearch.data.loading.load_data`."""
