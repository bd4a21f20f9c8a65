"""The main job on real images: train a small network under the scope and write the report."""
