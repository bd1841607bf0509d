//! Draws strokes for the network, as the page does: independently of the drawing's size.

use crate::Ink;

const LONGER_SIDE: f64 = 160.0; // pixels: three for each that the network sees
// Of the pen. A stroke of ETL9G is 3.7 pixels wide where a kanji is 82 pixels high.
const RADIUS: f64 = 0.045 * LONGER_SIDE / 2.0;
// More paper than ink, whatever is drawn: what most of an image consists of is taken for its paper.
const MARGIN: usize = 40;
const MIN_EXTENT: f64 = 0.04; // of the paper's side: smaller drawings are not enlarged further, so that a dot stays a dot

/// A stroke's points (x, y), fractions of the paper's side, y down.
pub type Stroke = Vec<(f64, f64)>;

/// Draws strokes with a round pen, and a margin of paper all round; `None` where there is no point.
pub fn rasterize(strokes: &[Stroke]) -> Option<Ink> {
    let points = || strokes.iter().flatten();
    points().next()?;
    let span = |pick: fn(&(f64, f64)) -> f64| {
        let min = points().map(pick).fold(f64::INFINITY, f64::min);
        (min, points().map(pick).fold(f64::NEG_INFINITY, f64::max) - min)
    };
    let ((left, width), (top, height)) = (span(|point| point.0), span(|point| point.1));
    let scale = LONGER_SIDE / width.max(height).max(MIN_EXTENT);
    let [width, height] = [width, height].map(|extent| (extent * scale).ceil() as usize + 2 * MARGIN);
    let mut ink = Ink { width, height, pixels: vec![0; width * height] };
    let place = |&(x, y): &(f64, f64)| ((x - left) * scale + MARGIN as f64, (y - top) * scale + MARGIN as f64);
    for stroke in strokes {
        let way: Vec<(f64, f64)> = stroke.iter().map(place).collect();
        for (index, &start) in way.iter().enumerate() {
            draw_line(&mut ink, start, *way.get(index + 1).unwrap_or(&start));
        }
    }
    Some(ink)
}

/// Covers what is nearer than the radius to a straight line, with edges one pixel soft.
fn draw_line(ink: &mut Ink, (x0, y0): (f64, f64), (x1, y1): (f64, f64)) {
    let (dx, dy) = (x1 - x0, y1 - y0);
    let squared_length = dx * dx + dy * dy;
    let reach = RADIUS + 1.0; // less than the margin, so that all of it lies in the image
    for row in (y0.min(y1) - reach).floor() as usize..=(y0.max(y1) + reach).ceil() as usize {
        for column in (x0.min(x1) - reach).floor() as usize..=(x0.max(x1) + reach).ceil() as usize {
            let (x, y) = (column as f64 + 0.5 - x0, row as f64 + 0.5 - y0); // of the pixel's center
            let along = if squared_length > 0.0 { ((x * dx + y * dy) / squared_length).clamp(0.0, 1.0) } else { 0.0 };
            let distance = (x - along * dx).hypot(y - along * dy);
            let cover = (255.0 * (RADIUS + 0.5 - distance).clamp(0.0, 1.0)).round() as u8;
            let pixel = &mut ink.pixels[row * ink.width + column];
            *pixel = cover.max(*pixel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_and_a_dot_have_the_pens_width() {
        let ink = rasterize(&[vec![(0.1, 0.5), (0.9, 0.5)]]).unwrap();
        assert_eq!((ink.width, ink.height), (240, 80));
        let middle: u32 = (0..80).map(|y| u32::from(ink.pixels[y * 240 + 120])).sum();
        assert_eq!((middle as f64 / 255.0).round(), (2.0 * RADIUS).round());
        let dot = rasterize(&[vec![(0.3, 0.3)]]).unwrap();
        assert_eq!((dot.width, dot.height), (80, 80));
        assert!(dot.pixels[40 * 80 + 40] == 255);
        assert!(rasterize(&[vec![]]).is_none());
    }
}
