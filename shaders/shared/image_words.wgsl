// Writes a texel of a kernel's output where that is a tensor in a buffer, of one pixel to an image: the channels that there
// are. It has the binding OUTPUT.

@group(0) @binding(OUTPUT) var<storage, read_write> output: array<f32>;

fn store_output(texel: u32, value: vec4<f32>) {
    let channels = 4u * params.filters - 4u + params.last_lanes;
    let first = texel % params.filters * 4u;
    let start = texel / params.filters * channels + first;
    for (var k = 0u; k < 4u; k++) {
        if first + k < channels {
            output[start + k] = value[k];
        }
    }
}
