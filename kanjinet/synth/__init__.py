"""Sample handwriting: KanjiVG strokes, simulated writers, rasterizer, sheets."""
