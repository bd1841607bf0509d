//! Preprocessing of an image for the network, from the words of the contract `even-lines-2`, which each exported file
//! carries as `preprocessing_contract`, and of docs/preprocessing.md.

use std::f64::consts::FRAC_PI_2;

/// The version of the contract that these steps implement; a model says which one it needs.
pub const PREPROCESSING: &str = "even-lines-2";

const MIN_INK: u8 = 16; // of 255: an image in which less stands out from the paper holds no character
const DIRT_DIVISOR: u32 = 8; // pixels with less than an eighth of the largest value become 0
const BOX_DIVISOR: u32 = 4; // pixels with at least a quarter of it span the box
const TIE: f64 = 1e-6; // ties go up whatever the rounding errors

/// A gray image, row by row, bright ink on dark paper.
#[derive(Clone, Debug, PartialEq)]
pub struct Ink {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

impl Ink {
    fn at(&self, x: usize, y: usize) -> u8 {
        self.pixels[y * self.width + x]
    }

    fn transpose(&self) -> Ink {
        let pixels = (0..self.width).flat_map(|x| (0..self.height).map(move |y| self.at(x, y))).collect();
        Ink { width: self.height, height: self.width, pixels }
    }
}

/// Returns the middle one of the values in order; of an even number the lower of the two; 0 of none.
pub fn lower_median(values: impl IntoIterator<Item = u8>) -> u8 {
    let mut counts = [0usize; 256];
    for value in values {
        counts[usize::from(value)] += 1;
    }
    let middle = counts.iter().sum::<usize>().saturating_sub(1) / 2;
    let mut below = 0;
    (0..=255u8)
        .find(|&value| {
            below += counts[usize::from(value)];
            below > middle
        })
        .unwrap_or(0)
}

/// Inverts a gray image whose border is brighter than the middle between its darkest and its brightest value.
pub fn make_ink_bright(mut gray: Ink) -> Ink {
    let (width, height) = (gray.width, gray.height);
    let is_border =
        |at: usize| at < width || at >= width * (height - 1) || at.is_multiple_of(width) || at % width == width - 1;
    let paper = lower_median((0..gray.pixels.len()).filter(|&at| is_border(at)).map(|at| gray.pixels[at]));
    let darkest = gray.pixels.iter().copied().min().unwrap_or(0);
    let brightest = gray.pixels.iter().copied().max().unwrap_or(0);
    if 2 * u32::from(paper) > u32::from(darkest) + u32::from(brightest) {
        gray.pixels.iter_mut().for_each(|value| *value = 255 - *value);
    }
    gray
}

/// Returns whether something stands out from the paper.
pub fn has_ink(ink: &Ink) -> bool {
    let paper = lower_median(ink.pixels.iter().copied());
    ink.pixels.iter().any(|&value| value.saturating_sub(paper) >= MIN_INK)
}

/// Turns an image into the network's input, size x size values of 0 to 255; one without ink stays empty.
pub fn preprocess(ink: &Ink, size: usize) -> Vec<u8> {
    let mut out = vec![0; size * size];
    let Some(cropped) = crop_to_ink(ink) else { return out };
    let evened = even_out_lines(&cropped, (size as f64 * 52.0 / 64.0).round() as usize);
    let (left, top) = ((size - evened.width) / 2, (size - evened.height) / 2);
    for (y, row) in evened.pixels.chunks(evened.width).enumerate() {
        let start = (top + y) * size + left;
        out[start..start + evened.width].copy_from_slice(row);
    }
    out
}

/// Subtracts the paper, erases faint dirt and crops to the ink's box (steps 0 and 1); `None` where there is no ink.
fn crop_to_ink(image: &Ink) -> Option<Ink> {
    let paper = lower_median(image.pixels.iter().copied());
    let pixels = image.pixels.iter().map(|value| value.saturating_sub(paper)).collect();
    let ink = Ink { width: image.width, height: image.height, pixels };
    let peak = u32::from(ink.pixels.iter().copied().max()?);
    if peak == 0 {
        return None;
    }
    let spans = |x: usize, y: usize| u32::from(ink.at(x, y)) * BOX_DIVISOR >= peak;
    let rows: Vec<usize> = (0..ink.height).filter(|&y| (0..ink.width).any(|x| spans(x, y))).collect();
    let columns: Vec<usize> = (0..ink.width).filter(|&x| (0..ink.height).any(|y| spans(x, y))).collect();
    let (top, bottom, left, right) = (rows[0], *rows.last()?, columns[0], *columns.last()?);
    let pixels = (top..=bottom)
        .flat_map(|y| (left..=right).map(move |x| (x, y)))
        .map(|(x, y)| ink.at(x, y))
        .map(|value| if u32::from(value) * DIRT_DIVISOR < peak { 0 } else { value })
        .collect();
    Some(Ink { width: right - left + 1, height: bottom - top + 1, pixels })
}

/// Resizes a box with ink so that lines lie evenly in it (steps 2 to 6); its longer side becomes `target` pixels.
fn even_out_lines(cropped: &Ink, target: usize) -> Ink {
    let longer = cropped.width.max(cropped.height);
    let shorter = cropped.width.min(cropped.height);
    let flattened = target as f64 * (FRAC_PI_2 * shorter as f64 / longer as f64).sin().sqrt();
    let resize = |side: usize| if side == longer { target } else { ((flattened + 0.5).floor() as usize).max(1) };
    let reach = (longer as f64 * 4.0 / 52.0 + 0.5).floor() as usize;
    let (width, height) = (resize(cropped.width), resize(cropped.height));
    let transposed = cropped.transpose();
    let rows = place_borders(cropped, reach, height);
    let columns = place_borders(&transposed, reach, width);

    let values: Vec<f64> = cropped.pixels.iter().copied().map(f64::from).collect();
    let bands = average_rows(&values, cropped.width, &rows);
    let turned = transpose(&bands, cropped.width);
    let means = transpose(&average_rows(&turned, height, &columns), height);
    let scale = 255.0 / means.iter().copied().fold(0.0, f64::max);
    let pixels = means.iter().map(|mean| (mean * scale + 0.5 + TIE) as u8).collect();
    Ink { width, height, pixels }
}

/// Places the borders of `count` output rows, in rows of the box, so that each takes as much density (steps 3 and 4).
fn place_borders(cropped: &Ink, reach: usize, count: usize) -> Vec<f64> {
    let (width, height) = (cropped.width, cropped.height);
    let pixel = |x: usize, y: isize| match usize::try_from(y) {
        Ok(y) if y < height => i64::from(cropped.at(x, y)),
        _ => 0,
    };
    let step = |y: isize| (0..width).map(|x| (pixel(x, y) - pixel(x, y - 1)).abs()).sum::<i64>();
    let edges: Vec<i64> = (0..height as isize).map(|y| step(y) + step(y + 1)).collect();
    let smoothed: Vec<f64> = (0..height as isize)
        .map(|y| {
            let near = y - reach as isize..=y + reach as isize;
            let sum: i64 = near.map(|row| edges[row.clamp(0, height as isize - 1) as usize]).sum();
            sum as f64 / (2 * reach + 1) as f64
        })
        .collect();
    let mean = smoothed.iter().sum::<f64>() / height as f64;
    let mut sums = vec![0.0];
    for value in &smoothed {
        sums.push(sums[sums.len() - 1] + value + mean);
    }
    let total = sums[height];
    let mut row = 0;
    let mut borders = vec![0.0];
    for k in 1..count {
        let goal = total * k as f64 / count as f64;
        while row + 1 < height && sums[row + 1] < goal {
            row += 1;
        }
        borders.push(row as f64 + (goal - sums[row]) / (sums[row + 1] - sums[row]));
    }
    borders.push(height as f64);
    borders
}

/// Averages the rows between neighboring borders, parts of rows counted by their height.
fn average_rows(values: &[f64], width: usize, borders: &[f64]) -> Vec<f64> {
    let height = values.len() / width;
    let mut means = vec![0.0; width * (borders.len() - 1)];
    for (out, ends) in means.chunks_mut(width).zip(borders.windows(2)) {
        let (from, to) = (ends[0], ends[1]);
        for y in (from.floor() as usize)..(to.ceil() as usize).min(height) {
            let part = (to.min((y + 1) as f64) - from.max(y as f64)) / (to - from);
            for (mean, value) in out.iter_mut().zip(&values[y * width..(y + 1) * width]) {
                *mean += part * value;
            }
        }
    }
    means
}

fn transpose(values: &[f64], width: usize) -> Vec<f64> {
    (0..width).flat_map(|x| values.iter().skip(x).step_by(width).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_median_is_the_lower_of_two() {
        assert_eq!(lower_median([3, 1, 2]), 2);
        assert_eq!(lower_median([9, 1, 2, 7]), 2);
        assert_eq!(lower_median([]), 0);
    }

    #[test]
    fn dark_ink_is_inverted_and_bright_ink_stays() {
        let mut pixels = vec![250; 25];
        pixels[12] = 10;
        let inverted = make_ink_bright(Ink { width: 5, height: 5, pixels });
        assert_eq!((inverted.pixels[12], inverted.pixels[0]), (245, 5));
        assert_eq!(make_ink_bright(inverted.clone()), inverted);
    }

    #[test]
    fn one_pixel_fills_the_longer_side() {
        let mut ink = Ink { width: 9, height: 7, pixels: vec![3; 63] };
        ink.pixels[30] = 200;
        let seen = preprocess(&ink, 64);
        let rows: Vec<usize> = (0..64).filter(|y| seen[y * 64..(y + 1) * 64].iter().any(|&value| value > 0)).collect();
        assert_eq!((rows[0], rows.len()), (6, 52));
        assert!(seen.iter().all(|&value| value == 0 || value == 255));
    }

    #[test]
    fn blank_images_stay_empty() {
        for ink in [Ink { width: 0, height: 0, pixels: vec![] }, Ink { width: 4, height: 2, pixels: vec![7; 8] }] {
            assert!(!has_ink(&ink));
            assert_eq!(preprocess(&ink, 32), vec![0; 32 * 32]);
        }
    }
}
