// Reads a kernel's input where that is planes of one channel in a buffer, as if they were an image.

@group(0) @binding(1) var<storage, read> input: array<f32>;

// Sums that are not kept read past the last row.
fn load_input(pixel: u32) -> vec4<f32> {
    return vec4(input[min(pixel, arrayLength(&input) - 1u)], 0.0, 0.0, 0.0);
}
