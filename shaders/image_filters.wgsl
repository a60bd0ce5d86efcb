// Weights from a buffer into the image that image_conv.wgsl reads: one invocation per texel.

struct Params {
    texels: u32,
    // Blocks of filters, and texels of filters in a block.
    blocks: u32,
    block: u32,
    depth: u32,
    taps: u32,
    filters: u32,
    channels: u32,
    // Steps in elements of the buffer.
    set_step: u32,
    filter_step: u32,
    channel_step: u32,
    tap_step: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var output: texture_storage_2d<rgba32float, write>;

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
    let lane = i % 4u;
    let filters = i / 4u % params.block;
    let tap = i / (4u * params.block) % params.taps;
    let rest = i / (4u * params.block * params.taps);
    let channel = rest % params.depth * 4u + lane;
    let block = rest / params.depth;
    let first = (block % params.blocks * params.block + filters) * 4u;
    let start = block / params.blocks * params.set_step + channel * params.channel_step + tap * params.tap_step;
    var texel = vec4<f32>();
    for (var f = 0u; f < 4u; f++) {
        if first + f < params.filters && channel < params.channels {
            texel[f] = input[start + (first + f) * params.filter_step];
        }
    }
    textureStore(output, texel_at(i), texel);
}
