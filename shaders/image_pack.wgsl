// A tensor from a buffer into an image: one invocation per texel.

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
@group(0) @binding(1) var<storage, read> input: array<f32>;
// The output (shared/image_output.wgsl).
const OUTPUT = 2;

const GROUP = 64u;

fn load(image: u32, channel: u32, pixel: u32) -> f32 {
    if channel >= params.channels {
        return 0.0;
    }
    return input[image * params.image_step + channel * params.channel_step + pixel * params.pixel_step];
}

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
    let channel = i / params.pixels % params.depth * 4u;
    let image = i / (params.pixels * params.depth);
    let texel = vec4(
        load(image, channel, pixel),
        load(image, channel + 1u, pixel),
        load(image, channel + 2u, pixel),
        load(image, channel + 3u, pixel),
    );
    store_output(i, texel);
}
