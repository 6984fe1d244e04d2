"""Model graphs: build models by name, find sites and insert BAM."""
