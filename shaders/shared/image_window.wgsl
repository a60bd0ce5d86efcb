// Outputs of a convolution that are stored as a pool's: windows of WINDOW_Y by WINDOW_X of them, whose members come in the
// order in which image_pool.wgsl takes them.

// A loop over them stays one: `zero` is 0, but Mesa does not know.
fn lines_of_window(zero: u32) -> u32 {
    return WINDOW_Y + zero;
}

fn pool(value: vec4<f32>, next: vec4<f32>, is_first: bool) -> vec4<f32> {
    if MAX {
        return select(value, next, vec4(is_first) | next > value | is_nan4(next));
    }
    return select(value, vec4<f32>(), is_first) + next;
}

fn pooled(value: vec4<f32>) -> vec4<f32> {
    return select(value / f32(WINDOW_X * WINDOW_Y), value, MAX);
}
