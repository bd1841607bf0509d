"""Bytes to uint8 images: ETL9G records, dataset chunks, splits, preprocessing, image files."""
