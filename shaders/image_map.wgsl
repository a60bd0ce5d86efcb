// A function of each element of one image, or of two of the same shape: one invocation per texel.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// Binding 1 is the input (shared/image_input.wgsl).
@group(0) @binding(2) var other: texture_storage_2d_array<rgba32float, read>;
// The output (shared/image_output.wgsl).
const OUTPUT = 3;

const GROUP = 64u;

const ADD = 0u;
const SUB = 1u;
const MUL = 2u;

fn load_other(texel: u32) -> vec4<f32> {
    let place = place_of(texel, textureDimensions(other).y);
    return textureLoad(other, place.xy, place.z);
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_group(group, groups) * GROUP + local;
    if i >= params.count {
        return;
    }
    let x = load_input(i);
    var value: vec4<f32>;
    switch FUNCTION {
        case ADD: { value = x + load_other(i); }
        case SUB: { value = x - load_other(i); }
        case MUL: { value = x * load_other(i); }
        default: { value = activate4(x); }
    }
    store_output(i, value);
}
