// Outputs of a convolution that are stored as they are: windows of one pixel.

const WINDOW_X = 1u;
const WINDOW_Y = 1u;

fn lines_of_window(zero: u32) -> u32 {
    return 1u;
}

fn pool(value: vec4<f32>, next: vec4<f32>, is_first: bool) -> vec4<f32> {
    return next;
}

fn pooled(value: vec4<f32>) -> vec4<f32> {
    return value;
}
