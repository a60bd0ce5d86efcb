// A function of each element of one image, or of two of the same shape: one invocation per texel.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var b: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var output: texture_storage_2d<rgba32float, write>;

const GROUP = 64u;

const ADD = 0u;
const SUB = 1u;
const MUL = 2u;

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
    let x = textureLoad(a, texel_at(i));
    var value: vec4<f32>;
    switch FUNCTION {
        case ADD: { value = x + textureLoad(b, texel_at(i)); }
        case SUB: { value = x - textureLoad(b, texel_at(i)); }
        case MUL: { value = x * textureLoad(b, texel_at(i)); }
        default: { value = activate4(x); }
    }
    textureStore(output, texel_at(i), value);
}
