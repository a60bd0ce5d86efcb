// A tensor from an image into a buffer: one invocation per texel.

struct Params {
    texels: u32,
    channels: u32,
    // Texels of one image's channels, ceil(channels / 4), and pixels of one channel.
    depth: u32,
    pixels: u32,
    // Steps in elements of the buffer.
    image_step: u32,
    channel_step: u32,
    pixel_step: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// Binding 1 is the input (shared/image_input.wgsl).
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

const GROUP = 64u;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_group(group, groups) * GROUP + local;
    if i >= params.texels {
        return;
    }
    let pixel = i % params.pixels;
    let first = i / params.pixels % params.depth * 4u;
    let image = i / (params.pixels * params.depth);
    let texel = load_input(i);
    let start = image * params.image_step + first * params.channel_step + pixel * params.pixel_step;
    for (var k = 0u; k < 4u; k++) {
        if first + k < params.channels {
            output[start + k * params.channel_step] = texel[k];
        }
    }
}
