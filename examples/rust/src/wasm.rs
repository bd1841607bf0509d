//! What a page calls: memory for its bytes, one model at a time, images or strokes in, probabilities out.
//!
//! `web/reader/tract.js` is the typed side of it. Functions that can fail return 0 for success and leave a message.

use std::cell::RefCell;

use crate::{Ink, Reader, Stroke, make_ink_bright, rasterize};

#[derive(Default)]
struct State {
    reader: Option<Reader>,
    seen: Vec<u8>,
    probabilities: Vec<f32>,
    message: String,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

const DONE: u32 = 0;
const FAILED: u32 = 1; // see the message
const BLANK: u32 = 2; // no character stands out

/// Returns `size` bytes of memory for the caller to fill, aligned for any number.
#[unsafe(no_mangle)]
extern "C" fn reserve(size: usize) -> *mut u8 {
    Box::into_raw(vec![0f64; size.div_ceil(size_of::<f64>())].into_boxed_slice()).cast()
}

/// Takes back what `reserve` returned.
///
/// # Safety
/// `bytes` is what `reserve(size)` returned, not taken back before.
#[unsafe(no_mangle)]
unsafe extern "C" fn release(bytes: *mut u8, size: usize) {
    let block = std::ptr::slice_from_raw_parts_mut(bytes.cast::<f64>(), size.div_ceil(size_of::<f64>()));
    drop(unsafe { Box::from_raw(block) });
}

/// Loads an ONNX file of `size` bytes, in place of the one before.
///
/// # Safety
/// `content` points to `size` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn load(content: *const u8, size: usize) -> u32 {
    let content = unsafe { std::slice::from_raw_parts(content, size) };
    finish(|state| {
        state.reader = Some(Reader::load(content).map_err(|error| format!("{error:#}"))?);
        Ok(DONE)
    })
}

/// Reads a gray image, row by row; one with dark ink on bright paper is inverted first.
///
/// # Safety
/// `pixels` points to `width * height` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn read_gray(pixels: *const u8, width: usize, height: usize) -> u32 {
    let pixels = unsafe { std::slice::from_raw_parts(pixels, width * height) }.to_vec();
    finish(|state| state.read(&make_ink_bright(Ink { width, height, pixels })))
}

/// Runs the network on an image that is prepared already, `size` bytes.
///
/// # Safety
/// `seen` points to `size` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn run(seen: *const u8, size: usize) -> u32 {
    let seen = unsafe { std::slice::from_raw_parts(seen, size) }.to_vec();
    finish(|state| state.run(seen))
}

/// Reads strokes: `lengths` holds the number of points of each, `points` all of their x and y one after another.
///
/// # Safety
/// `lengths` points to `count` numbers, `points` to twice as many as their sum.
#[unsafe(no_mangle)]
unsafe extern "C" fn read_strokes(points: *const f64, lengths: *const u32, count: usize) -> u32 {
    let lengths = unsafe { std::slice::from_raw_parts(lengths, count) };
    let total = lengths.iter().map(|&length| length as usize).sum::<usize>();
    let mut points = unsafe { std::slice::from_raw_parts(points, 2 * total) }.chunks_exact(2).map(|xy| (xy[0], xy[1]));
    let strokes: Vec<Stroke> = lengths.iter().map(|&length| points.by_ref().take(length as usize).collect()).collect();
    finish(|state| {
        if !strokes.iter().flatten().all(|(x, y)| x.is_finite() && y.is_finite()) {
            return Err("a stroke has a coordinate that is no number".to_owned());
        }
        rasterize(&strokes).map_or(Ok(BLANK), |ink| state.read(&ink))
    })
}

impl State {
    fn reader(&self) -> Result<&Reader, String> {
        self.reader.as_ref().ok_or_else(|| "no model is loaded".to_owned())
    }

    fn read(&mut self, ink: &Ink) -> Result<u32, String> {
        self.reader()?.prepare(ink).map_or(Ok(BLANK), |seen| self.run(seen))
    }

    fn run(&mut self, seen: Vec<u8>) -> Result<u32, String> {
        self.probabilities = self.reader()?.read(&seen).map_err(|error| format!("{error:#}"))?;
        self.seen = seen;
        Ok(DONE)
    }
}

fn finish(task: impl FnOnce(&mut State) -> Result<u32, String>) -> u32 {
    STATE.with_borrow_mut(|state| {
        task(state).unwrap_or_else(|message| {
            state.message = message;
            FAILED
        })
    })
}

/// The last image as the network saw it, `image_size()` squared bytes.
#[unsafe(no_mangle)]
extern "C" fn seen() -> *const u8 {
    STATE.with_borrow(|state| state.seen.as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn image_size() -> usize {
    STATE.with_borrow(|state| state.reader.as_ref().map_or(0, |reader| reader.description().image_size))
}

/// The last image's probabilities, `class_count()` floats.
#[unsafe(no_mangle)]
extern "C" fn probabilities() -> *const f32 {
    STATE.with_borrow(|state| state.probabilities.as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn class_count() -> usize {
    STATE.with_borrow(|state| state.reader.as_ref().map_or(0, |reader| reader.description().class_table.len()))
}

/// Why the last call failed, `message_size()` bytes of UTF-8.
#[unsafe(no_mangle)]
extern "C" fn message() -> *const u8 {
    STATE.with_borrow(|state| state.message.as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn message_size() -> usize {
    STATE.with_borrow(|state| state.message.len())
}
