"""The preprocessing contract: what a client in another language must do to an image before the network, in words.

`kanjinet.data.preprocessing` is the reference.
"""

from kanjinet.errors import KanjinetError, brief

NORMALIZE = "even-lines-2"
PLAIN = "plain-1"
PREPROCESSINGS = {"normalize": NORMALIZE, "plain": PLAIN}  # option value -> version written into every file

IMAGE_SIZES = (32, 48, 64, 96, 128)  # pixels a side; every stage works with these

CONTRACTS = {
    NORMALIZE: (
        "Start from a gray image with bright ink (up to 255) on dark paper. "
        "0. Subtract the paper: the median of all pixels (the lower of the two middle ones, if their number is even), "
        "negative results being 0. Then pixels of less than an eighth of the largest value become 0. "
        "1. Box = the smallest rectangle that holds every pixel of at least a quarter of the largest value; crop to "
        "it. Let it be w x h pixels p, 0 outside, and L the longer of w and h. "
        "2. With S the output's side: the longer side becomes T = round(S * 52 / 64) pixels, the shorter one "
        "max(1, floor(T * sqrt(sin(pi / 2 * shorter / longer)) + 1/2)). "
        "3. Density of lines. For each column x: e(x) = the sum over the rows of |p(x) - p(x-1)| + |p(x+1) - p(x)|; "
        "s(x) = the mean of e over x-r ... x+r, where r = floor(L * 4 / 52 + 1/2) and columns beyond the ends count "
        "as the end's; d(x) = s(x) + the mean of s over all columns. For each row the same, across the columns. "
        "4. New borders. Let column x contribute d(x), spread evenly over its width, to the sum of d; the output's "
        "columns divide that sum into equal parts, and so their borders, generally within columns, are found. For the "
        "rows the same. "
        "5. Each output pixel is the mean of p over the rectangle between its borders, parts of pixels counted by "
        "their area. "
        "6. Multiply by 255 / the largest of them, add 1/2, round down; paste at ((S - width) // 2, (S - height) // 2) "
        "into S x S zeros. "
        "7. The network takes value / 255 as float32, shape (batch, 1, S, S). "
        "(For cells of scanned sheets only, before 1: in cells with ink apart from strokes, paper noise and specks are "
        "erased; in all, fragments of the neighboring cells, that is ink at an edge that blank paper divides from the "
        "character, and small connected pieces that touch an edge.)"
    ),
    PLAIN: (
        "Start from a gray image with bright ink (up to 255) on paper of 0. Resize the whole image to S x S: the "
        "mean over each output pixel's footprint where it shrinks, linear interpolation where it grows. The network "
        "takes value / 255 as float32, shape (batch, 1, S, S)."
    ),
}


def check_preprocessing(version: str, where: str) -> None:
    """Refuses a preprocessing version that this release does not know.

    Raises:
        KanjinetError: with `where`, the file that names it.
    """
    if version not in CONTRACTS:
        raise KanjinetError(
            f"{where}: preprocessing {brief(version)} is none of {', '.join(CONTRACTS)}",
            "prepare the dataset and train again",
        )
