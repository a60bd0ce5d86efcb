// The inputs that four neighbours of an output row meet at one tap of a window after another. Taps are KERNEL_WIDTH,
// DILATION_X inputs apart, and outputs STRIDE_X inputs. The kernel says what a Row is, the first of whose neighbours has
// its first tap at `left`, and which `element` is at a column of it.

// The inputs at the last tap and the one before.
struct Window {
    last: vec4<f32>,
    before: vec4<f32>,
}

// Whether a tap meets the inputs of STRIDE_X taps before, moved by a neighbour.
const SLIDES = DILATION_X == 1u && STRIDE_X <= 2u;

// Moves on to this tap of the row.
fn slide(window: Window, row: Row, tap: u32) -> Window {
    let column = u32(row.left + i32(tap * DILATION_X));
    if SLIDES && tap >= STRIDE_X {
        let known = select(window.before, window.last, STRIDE_X == 1u);
        return Window(vec4(known.yzw, element(row, column + 3u * STRIDE_X)), window.last);
    }
    let next = vec4(
        element(row, column),
        element(row, column + STRIDE_X),
        element(row, column + 2u * STRIDE_X),
        element(row, column + 3u * STRIDE_X),
    );
    return Window(next, window.last);
}
