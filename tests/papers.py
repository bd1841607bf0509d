"""Printed characters on paper that is lit, ruled and turned."""

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.synth.printed import draw_character

Gray = npt.NDArray[np.uint8]


def write(rows: list[str], pitch: int = 150) -> Gray:
    """Characters on white paper, a row each word."""
    paper = np.full((pitch * len(rows) + 60, pitch * max(map(len, rows)) + 60), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, character in enumerate(row):
            top, left = 30 + y * pitch + (pitch - 128) // 2, 30 + x * pitch + (pitch - 128) // 2
            paper[top : top + 128, left : left + 128] -= np.minimum(draw_character(character), 215)
    return paper


def light(paper: Gray, to: float) -> Gray:
    """The paper in light that slopes to a fraction."""
    return (paper * np.linspace(1, to, paper.shape[1])).astype(np.uint8)


def rule(paper: Gray, pitch: int, squares: bool) -> Gray:
    """Thin gray lines under the ink, slightly turned."""
    ruled = paper.copy()
    for at in range(-200, max(paper.shape) + 200, pitch):
        cv2.line(ruled, (0, at), (paper.shape[1], at + paper.shape[1] // 50), 170, 2)
        if squares:
            cv2.line(ruled, (at, 0), (at - paper.shape[0] // 50, paper.shape[0]), 170, 2)
    return np.minimum(ruled, paper)


def frame(paper: Gray, gray: int) -> Gray:
    """One square around the ink, of a darkness."""
    framed = paper.copy()
    cv2.rectangle(framed, (25, 25), (paper.shape[1] - 26, paper.shape[0] - 26), gray, 4)
    return np.minimum(framed, paper)


def square(paper: Gray, pitch: int = 150) -> Gray:
    """Thin gray squares around the characters that `write` wrote, under the ink."""
    squared = paper.copy()
    for at in range(30, max(paper.shape), pitch):
        cv2.line(squared, (30, at), (paper.shape[1] - 30, at), 170, 2)
        cv2.line(squared, (at, 30), (at, paper.shape[0] - 30), 170, 2)
    return np.minimum(squared, paper)


def warp(paper: Gray) -> Gray:
    """The paper turned and in perspective, as it is seen from the left."""
    height, width = paper.shape
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    seen = np.array([(0.03, 0.1), (0.95, 0.02), (0.99, 0.93), (0.07, 0.97)], np.float32) * (width, height)
    matrix = cv2.getPerspectiveTransform(corners, seen.astype(np.float32))
    return np.asarray(cv2.warpPerspective(paper, matrix, (width, height), borderValue=255), np.uint8)
